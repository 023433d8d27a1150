// Package node stands for the machine in the API: its Node object (registered, kept, never taken from others), what it has and can give,
// its conditions, and the lease that says it is alive. One timer, every 10 seconds, does all of it; the API hears of the status when it
// changed, and every 5 minutes.
//
// It imports object, client, and kubelet/{cri,spec}. Read node.go, then facts.go.
package node
