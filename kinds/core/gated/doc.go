// Package gated knows the fields of pods whose features Kubernetes 1.37 has, but switches off unless told otherwise: it takes them
// from what clients send, so that a manifest comes out as it does there. Fields that an object has already stay. Read drop.go.
package gated
