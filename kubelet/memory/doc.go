// Package memory keeps containers of guaranteed pods on NUMA nodes that have the memory and huge pages that they ask for (Kubernetes' memory
// manager, KEP-1769, static policy). A node serves single-node requests, or is in one group of nodes that serves larger ones, never both, so
// that what was promised can be had.
//
// It imports kubelet/spec, kubelet/topology and kit. Read manager.go, then place.go.
package memory
