// Package proa is the map of the house. proa is a Kubernetes in one Go program; folders are its architecture, and arch_test.go
// holds which of them may import which.
//
// How one object flows, with the file to open for each step. `kubectl apply -f web.yaml` (a Deployment with one replica):
//
//  1. apiserver/chain.go identifies, authorises, admits; apiserver/rest decodes, defaults, validates on one type (kinds/apps).
//  2. store/etcd does one compare-and-put at a revision; its watch feeds apiserver/cache, which wakes every reader of the View.
//  3. control/deployment writes the ReplicaSet, control/replicaset the Pod, scheduler the Binding.
//  4. kubelet sees its pod; kubelet/pod decides the next step; runtime/cri makes the sandbox and the containers, network/cni the
//     address, runtime/keeper holds the processes.
//  5. kubelet/status writes Running and Ready; control/endpointslice writes the addresses; network/service turns them into one
//     nftables transaction.
//
// The three seams are client (the Kubernetes API), CRI v1 between kubelet and runtime, and store (bytes at revisions). Each has a form in
// process and one over the wire. Package process wires them, in two written-out lists: process/server.go and process/agent.go.
package proa
