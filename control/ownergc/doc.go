// Package ownergc deletes what has lost all its owners, and carries out the propagation policies of deletes: background, foreground
// (the finalizer foregroundDeletion) and orphan (the finalizer orphan).
//
// The View is the graph: an owner reference is followed by looking its owner up, and graph only remembers the other direction, uid to
// dependents. An owner counts as absent when its deletion was seen, or when neither the View nor the API itself has an object of that
// name with that uid. A reference of a kind that nobody serves, or of a cluster-scoped object to a namespaced one, counts as an owner
// that is there: better litter than loss.
//
// It imports control. Read plan.go for the decisions, then controller.go.
package ownergc
