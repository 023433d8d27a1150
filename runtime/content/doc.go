// Package content keeps blobs on disk under their digest: image manifests, configurations and layers. A blob is verified
// while it streams in and published by one rename, so whoever finds a blob finds the right bytes. A download that breaks
// off stays in ingest/ and goes on where it stopped.
//
//	root/blobs/sha256/9f86d081...   a whole, verified blob, read-only for ever
//	root/ingest/sha256-9f86d081...  the first part of one, kept over restarts
//	root/ingest/new-1234            a blob whose digest is not known yet, swept at start
//
// Nothing here knows what refers to a blob. The owner says so when it collects (Collect), and a Lease keeps what is
// being worked on from being collected in the middle of a pull.
//
// A layer is stored as it came; Decompress gives its plain bytes.
//
// It imports only go-digest, the image specification's descriptor type and the compression library. Read store.go first,
// then ingest.go.
package content
