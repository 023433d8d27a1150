// Package archive moves images in and out of tar files: the OCI image layout ("oci-archive") and the form of `docker save`
// (which newer Dockers make a layout as well), plain or compressed as a whole. An archive is read once, front to back:
// blobs go into the content store as they come, and the table of contents is understood at the end.
//
//	blobs/sha256/9f86d081...   blobs, in any order
//	index.json, oci-layout     table of contents of an OCI layout
//	manifest.json              table of contents of docker save
//
// Build makes such an archive from files, for images that need no other tool; the same files give the same bytes.
//
// It imports content, manifest, reference and the image specification. Read import.go first; build.go stands alone.
package archive
