// Package daemonset runs one pod of a template on every node that the template fits: by node selector, affinity and taints. The scheduler
// places each pod through a node affinity to the name of its node. Updates go node by node within maxUnavailable, or put the new pod next
// to the old one first, within maxSurge.
//
// Templates are kept as ControllerRevisions (control/history.go), found again by their data. It imports control. Read plan.go, then roll.go.
package daemonset
