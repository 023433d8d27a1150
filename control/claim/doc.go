// Package claim looks after ResourceClaims (DRA): it makes those that pods ask for by template and names them in the pod's status, reserves
// claims for pods that came to their node without the scheduler, and takes reservations back of pods that are over. A claim that nobody uses
// any more is deallocated, and let go if it is being deleted; one that was made for a pod that will not run is deleted.
//
// It imports control. Read pod.go, then claim.go.
package claim
