// Package source tells the kubelet what it has to look after: the pods of its node, from a View, and the ConfigMaps, Secrets and claims
// that they use. Objects that a View does not carry (an agent's View need not hold every Secret of the cluster) are read from the API.
//
// Pods of manifests in a directory run beside them, with or without an API (Static).
//
// It imports object, client, kinds and kubelet/{spec,status,volume}. Read pods.go, then objects.go.
package source
