// Package podgc deletes pods that nobody else will: those that are being deleted and never got a node; those whose node is gone, or
// is marked out of service and not ready; and, beyond 12,500 of them, the oldest that have finished. It imports control. Read plan.go.
package podgc
