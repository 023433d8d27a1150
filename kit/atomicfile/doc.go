// Package atomicfile replaces files so that a crash leaves either the old or the new content, never a part. It imports the standard
// library only. Read atomicfile.go.
package atomicfile
