// Package e2e drives the real program: bin/proa and bin/kubectl, on real containers. Each cluster of a test is a machine of its own as
// far as the kernel allows: a network namespace without a way out, its own directories, its own cgroup parent. Tests need root and
// the result of make build images. With PROA_TEST_RUNTIME=containerd the containers of all tests are those of a containerd (Debian's) beside
// each proa: what is said of it alone is in TestContainerd. Read cluster.go.
package e2e
