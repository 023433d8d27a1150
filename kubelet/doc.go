// Package kubelet runs the pods of one node: it follows them in the API, has a container runtime (CRI v1) run them, makes their volumes,
// probes them, tells the API how they are, and serves the node's own API for logs, exec, attach and port-forward.
//
//	source -> pod (next: what to do; worker: does it) -> cri -> the runtime
//	            |- volume, probe                          \- its events wake the worker
//	            \- status -> the API
//	plugin: drivers beside the kubelet -> csi (with volume), resource     localvolume: the built-in one of them
//	resource: what pods have of the node for themselves (device, topology)
//	node: the Node object and lease     serve: the node's API     upkeep: measuring, evicting, images, logs
//
// A kubelet holds no state that matters: killed at any moment, the next one finds everything in the runtime, on disk and in the API, and
// restarts no container. It imports client, client/record, kinds, object and kit, and speaks CRI only. Read kubelet.go, then
// pod/next.go.
package kubelet
