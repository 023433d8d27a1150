// Package cri is the seam between the kubelet and a container runtime: CRI v1 in its server form, so that proa's own runtime is
// called as plain methods in the same process, and any other runtime through its socket (Dial).
//
// It imports cri-api and gRPC only. Read cri.go.
package cri
