// Package statefulset keeps pods with an identity: a number, a name, a host name and claims of their own that outlive the pod. In
// OrderedReady management everything happens one pod at a time and halts while any pod is not ready; in Parallel management only updates
// are paced. Updates go from the highest number down to the partition.
//
// Templates are kept as ControllerRevisions (control/history.go). It imports control. Read plan.go, then identity.go and claims.go.
package statefulset
