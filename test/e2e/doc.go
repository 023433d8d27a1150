// Package e2e drives the real program: bin/proa and bin/kubectl, on real containers. Each cluster of a test is a machine of its own as
// far as the kernel allows: a network namespace without a way out, its own directories, its own cgroup parent. Tests need root and
// the result of make build images. Read cluster.go.
package e2e
