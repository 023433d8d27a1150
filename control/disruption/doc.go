// Package disruption keeps in the status of each PodDisruptionBudget how many of its pods may be taken away now. The eviction
// subresource takes from status.disruptionsAllowed and notes the pod in status.disruptedPods; here the pod is taken off that list when it is
// going, or when it has not gone two minutes later. It also takes back a DisruptionTarget condition that came to nothing.
//
// It imports control, client and object. Read controller.go, then plan.go.
package disruption
