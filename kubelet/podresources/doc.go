// Package podresources serves the pod-resources API (v1, and the list of v1alpha1): monitoring agents ask on a socket below the kubelet's
// directory which devices, CPUs, memory and claims each container has, and what there is in all.
//
// It imports nothing of ours; what it tells comes from a Source. Read serve.go.
package podresources
