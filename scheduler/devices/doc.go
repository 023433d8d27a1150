// Package devices is what the scheduler knows of dynamic resource allocation (DRA, KEP-4381): which devices of which ResourceSlices a pod's
// ResourceClaims could have on a node, and how the choice gets into the API.
//
//	State   what is taken: by claims in the View, and by decisions that the View does not show yet
//	Ask     one pod's claims: Look reads them, Try asks the allocator about one node, Decide takes what it found for a node
//	Decision.Write   allocation and reservation into the claims, before the pod is bound
//
// Extended resources that a DeviceClass stands for (KEP-5004) become one claim of the pod, made at the end: see extended.go. The search itself
// is that of k8s.io/dynamic-resource-allocation, the same as everybody's. Nothing of it is set up before the first pod that claims something.
//
// State and Ask belong to one goroutine, the scheduler's loop; Decisions are written on others. It imports client and object. Read state.go,
// then ask.go.
package devices
