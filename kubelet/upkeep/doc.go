// Package upkeep is what a node does for itself beside running pods: it measures (stats), ends pods when something runs short (evict),
// removes images (imagegc), rotates logs (logs), keeps the cgroups above pods (qos), and lets pods end before the machine goes down
// (shutdown). It only joins these packages, so that the kubelet has one of them to know.
package upkeep
