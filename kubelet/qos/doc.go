// Package qos keeps the cgroups above those of pods: the one of all pods, and those of the classes of service. They share the CPU by what
// the pods in them ask for; a class whose pods ask for nothing gets what is left over.
//
//	kubepods              shares for what the node gives to pods, and a limit of memory if some is reserved
//	kubepods/burstable    shares for what its pods request
//	kubepods/besteffort   the least shares
//
// Guaranteed pods stand beside the two classes. It imports kubelet/spec; who writes cgroups is its consumer's business. Read qos.go.
package qos
