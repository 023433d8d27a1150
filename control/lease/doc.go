// Package lease makes one of several processes do some work, by a Lease object (coordination.k8s.io/v1) that its holder renews. The
// lease of a holder counts as lost when it was not seen to change for its duration, by the own clock of whoever looks; a clean stop hands
// it over at once. A process that comes back under the identity that holds the lease takes it up again without waiting, so identities
// must be unique among the processes that live at the same time, and should be stable over restarts: the name of the server.
//
// It imports client, object and the standard library. Read lease.go.
package lease
