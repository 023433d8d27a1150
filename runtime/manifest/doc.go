// Package manifest reads what an image consists of: indexes, manifests and configurations, in the OCI form and in
// Docker's (schema 2), and picks the image for a platform. It is pure: bytes in, checked values out. What it returns has
// valid digests and sizes and bounded counts, so that callers need not look again.
//
// It imports go-digest and the image specification. Read manifest.go.
package manifest
