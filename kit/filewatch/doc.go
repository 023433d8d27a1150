// Package filewatch says when a file has changed, without polling. It watches the file's folder, so that a file that is replaced, or that
// stands behind links as Kubernetes mounts them, is noticed too. Linux only. It imports the standard library. Read filewatch.go.
package filewatch
