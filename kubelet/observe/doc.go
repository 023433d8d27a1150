// Package observe holds what the container runtime shows of a pod: its sandboxes and containers, read from CRI, and the names of
// labels and annotations by which the kubelet finds its own again after a restart. Labels and annotations are upstream's, so that
// a runtime's existing pods can be taken over and tools such as crictl print the usual names.
//
// It is data and translation only: pod decides from it, status reports it. It imports cri-api. Read observe.go.
package observe
