// Package joined adds to the View and the Client of one API server the resources that other API servers answer for, so that what walks
// all resources (the end of a namespace, the garbage collector, quotas) reaches those as well:
//
//	Others (discovery) -> one remote.View for each resource -> View, beside all that it carried before
//
// A resource shows when all its objects have been read. Until then, and while its server cannot be asked what it serves, its version
// is one that View.Unknown names: nobody may conclude that it is empty. While there are no others, a look costs one nil pointer.
//
// It imports client, client/remote and object. Read view.go.
package joined
