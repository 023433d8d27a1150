// Package control is what all controllers share; each concern is a folder below it. A controller watches a View, puts the keys of
// what may need work into a queue, and its Reconcile makes one object as it should be: it reads the View, hands what it read and the
// time to a pure plan, and applies the Changes that come back.
//
// Reconcile is level-triggered and idempotent: it may run twice, late, or after a crash between any two of its writes. A write is
// visible in the View before it returns, so there are no expectations to keep. Nothing here polls: a key comes back because something
// changed, because its plan asked for a time (Again), or because its work failed (with back-off).
//
// One leader runs all controllers: see control/lease. The folder imports client, object and kit. Read loop.go, then apply.go, then
// replicaset/ as the example of a controller.
package control
