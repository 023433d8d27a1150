// Package image is what a node knows as its images: names that lead to manifests, blobs in content/, unpacked layers in
// snapshot/. It brings images in (Pull, Import), says what they are (Config, Get, List), makes containers' root file
// systems of them (Prepare, Release) and removes what nobody needs (Remove, Prune).
//
//	root/images.json   the table of images, replaced as a whole and only after everything it speaks of is in place
//	root/content/      blobs (package content)
//	root/snapshots/    layers and writable layers (package snapshot)
//
// An image's ID is the digest of its configuration, everywhere and always. It may have any number of tags
// ("docker.io/library/nginx:1.27", one image per tag) and digests ("docker.io/library/nginx@sha256:..."). Names are
// completed as users expect: "nginx" is "docker.io/library/nginx:latest".
//
// It imports archive, content, manifest, reference, registry and snapshot. Read store.go first, then add.go and pull.go.
package image
