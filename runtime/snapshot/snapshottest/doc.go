// Package snapshottest is what every snapshotter must do, as a test suite: give it a way to open one. It mounts what it is
// given with overlayfs, in a mount namespace of its own, and compares the merged tree with what the layers mean (OCI
// image-spec, layer.md). It imports snapshot. Read suite.go.
package snapshottest
