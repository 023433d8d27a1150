// Package dra has drivers make ready what pods claim (dynamic resource allocation, KEP-4381): the scheduler chose the devices and wrote them into
// ResourceClaims; before a pod's sandbox is made, each driver concerned prepares its part of them and says by which CDI names the runtime gets
// at it; after the pod, it takes that back.
//
//	driver -> a socket in plugins_registry -> kubelet/plugin -> Register (drivers.go)
//	pod    -> Prepare: NodePrepareResources of each driver, once a claim (prepare.go) -> Add: CDI names into containers (use.go)
//	       -> Release: NodeUnprepareResources, with the last pod of a claim
//
// What is prepared is in a checkpoint, written before the driver is asked, so that nothing stays prepared that nobody knows of. The slices of a
// driver that is away for longer than a moment are removed from the API: nothing of it can be used. Drivers that watch the health of their
// devices tell it (health.go).
//
// It imports client, kubelet/plugin and kit. Read manager.go, then prepare.go.
package dra
