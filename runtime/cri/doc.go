// Package cri is the CRI v1 server: proa's container runtime as the kubelet sees it, called in process or on a unix socket
// (Serve). Runtime implements the runtime service, one RPC in one file named after the verb; Images the image service.
//
// State. Each sandbox and each container has a directory below Root with one record, written anew whenever something about
// it changes; what runs is known by the pod's keeper. After a crash the next Runtime reads the records (New), asks the
// keepers (Run), and sweeps what was half made: a sandbox whose record does not say ready is removed with all it had.
//
//	Root/sandboxes/<id>/record.<n>.json, resolv.conf, hostname
//	Root/containers/<id>/record.<n>.json
//	Run/keepers/<id>/sock, pid, exit/<container>      Run/netns/<id>      Run/shm/<id>
//
// Locks. Runtime.mu guards the tables and what is in them, and is held for moments only. A pod's and a container's op lock
// makes verbs on it take turns and is held across work; the pod's is taken before the container's.
//
// Events. Every change of state goes to all who listen (Events, GetContainerEvents) with the pod's status, so that a kubelet
// need not poll. They are queued without bound and in order.
//
// It imports the rest of the runtime tier. Read runtime.go, then run_pod_sandbox.go and start_container.go.
package cri
