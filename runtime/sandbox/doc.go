// Package sandbox holds what a pod has on the host apart from its keeper: the pinned network namespace, the shared memory
// file system and the files that all its containers see; and the seam to the network, which the process fills in. It imports
// the CRI types, x/sys/unix, and nothing else of the runtime. Read sandbox.go.
package sandbox
