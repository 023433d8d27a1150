// Package crd serves what CustomResourceDefinitions define. One loop looks at one definition at a time: it says which names are accepted
// and whether the schemas are sound (plan.go), has the API serve the kinds (apiserver/crd/custom makes them) before it says that
// they are established, and empties and ends what is deleted.
//
//	created -> names accepted, served, Established: one write of the status
//	changed -> served anew: watches of its objects end, as Kubernetes ends them
//	deleted -> Terminating, closed for new objects; objects deleted; finalizer gone; withdrawn
//
// Every server runs the loop; whoever is second finds nothing left to do. It imports apiserver/rest, webhook and custom, kinds, client and
// kit. Read server.go.
package crd
