// Package spec turns a pod into what CRI wants to hear: the configuration of its sandbox and of each container. Environment,
// expansion, security context, resources, DNS and the hosts file each have a file; behaviour is Kubernetes' own, field by field.
//
// Everything here is a function of its arguments (the node's facts, the objects that Sources finds). It imports object and
// observe. Read container.go and sandbox.go.
package spec
