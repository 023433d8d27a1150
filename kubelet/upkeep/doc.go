// Package upkeep is what a node does for itself beside running pods: it measures (stats), ends pods when something runs short (evict),
// removes images (imagegc) and rotates logs (logs). It only joins these packages, so that the kubelet has one of them to know.
package upkeep
