// Package snapshot keeps the unpacked layers of images and the writable layer of each container, as directories that
// overlayfs joins. The directory tree is the whole database: each step becomes true by one rename.
//
//	root/layers/3f2a.../fs         one unpacked layer, named by its chain ID (OCI image-spec, config.md, "Layer ChainID")
//	root/layers/3f2a.../parent     symbolic link to the layer below, absent for the lowest
//	root/layers/3f2a.../usage      symbolic link that says "bytes.inodes"
//	root/layers/3f2a.../unsynced   symbolic link that says in which boot it was unpacked, until it is safely on disk
//	root/active/<key>@3f2a...     upper, which takes what a container writes, and work, overlayfs' scratch directory; the
//	                               name says the chain ID below
//	root/spare/...                 empty pairs of upper and work, made ahead
//	root/trash/...                 on its way out: renamed here at once, removed in the background
//
// Small facts are names and symbolic links because these are written with the directory entry, so that a crash leaves them whole or
// leaves nothing. A layer whose files did not reach the disk before the machine went down is known by its boot and is
// unpacked again; nobody waits for a sync.
//
// Unpacking trusts nothing in a layer. Every name is resolved by the kernel beneath the layer's own directory (openat2
// with RESOLVE_BENEATH), a name with ".." is an error, a name with a leading slash is taken from the layer's root, a link
// that leads out of the layer is never followed, and counts and sizes are bounded (Limits). Layers unpack side by side,
// each without the ones below it; what needs those (a directory that the layer writes into without naming it, a hard link
// to a file of a lower layer) is put right when the layer is published.
//
// It imports content (to decompress), go-digest and x/sys. Read store.go first, then unpack.go and extract.go.
package snapshot
