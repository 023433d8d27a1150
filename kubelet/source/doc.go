// Package source tells the kubelet what it has to look after: the pods of its node, from a View, and the ConfigMaps, Secrets and claims
// that they use. What a View does not carry (a node that is no server may not see every Secret of the cluster) is followed object by
// object, one watch for each as long as a pod needs it:
//
//	what volumes show        until the last pod that shows it has ended, or it says that it is immutable
//	what containers begin with   the same, but not for longer than 5 minutes after it was last read
//
// While a server refuses to have something followed, or the node is told to read ConfigMaps and Secrets each time, those who use it read
// it again from time to time.
//
// Pods of manifests in a directory run beside them, with or without an API (Static).
//
// It imports object, client, kinds and kubelet/{spec,status,volume}. Read pods.go, then follow.go and
// objects.go.
package source
