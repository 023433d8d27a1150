// Package replicaset keeps as many pods of one template alive as spec.replicas says, for ReplicaSets and ReplicationControllers
// alike: both are turned into a set, and only set.go knows the difference. It adopts pods without controller that its selector
// selects, and releases those that it selects no more. When it has to delete, it takes the pods that are missed least (rank.go).
//
// Status writes that only tell of progress are held back for control.StatusDelay; that the set is complete is told at once.
// It imports control. Read plan.go.
package replicaset
