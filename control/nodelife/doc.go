// Package nodelife judges whether nodes live, and moves pods away from those that do not. A node lives while its lease in
// kube-node-lease, or its status, changes: for 50 seconds after each change by our own clock, so that clocks may differ and a cluster that
// slept gets a fresh start. One that does not gets its conditions set to Unknown.
//
// Conditions become taints: NoSchedule for every one of them, NoExecute for not-ready and unreachable. NoExecute is withheld while all
// nodes, or most of a zone, are bad: then the fault is more likely here. Pods leave a node when a NoExecute taint is not tolerated, or no
// longer (taint manager). It imports control. Read health.go, taints.go, evict.go.
package nodelife
