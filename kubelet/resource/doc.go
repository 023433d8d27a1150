// Package resource gives pods what of the node they may have for themselves, and takes it back: devices of plugins
// (kubelet/device) what claims of pods name (kubelet/dra), CPUs (kubelet/cpu) and memory
// (kubelet/memory), near to each other where that is wanted (kubelet/topology). It is what
// kubelet/pod asks before a pod's first container (Admit, Prepare), for each instance of a container (Add), and when a pod is over (Release).
//
// What they have is told on a socket (kubelet/podresources).
//
// Nothing here costs a pod that asks for nothing of it. It imports the kubelet packages that hand things out, and object. Read resource.go.
package resource
