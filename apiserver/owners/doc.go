// Package owners writes down who owns which field of an object (metadata.managedFields, KEP-555) when objects are created and changed
// otherwise than by server-side apply. Applies are merges, and stay with sigs.k8s.io/structured-merge-diff (apiserver/rest); its
// semantics are the ones here. It is too dear for every write, though: 240 us for the create of a pod and 640 us for an update of its
// status. A Tracker does the same in a few microseconds, with plans: what is to be known of a Go type, compiled by reflection
// when an object of it is first written, so that kinds which nobody uses cost nothing.
//
// A set of fields is a tree of elements. In JSON, as metadata.managedFields carries it:
//
//	{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}}}}
//
// "f:" names a field, "k:" an item of a list by its keys, "v:" an item of a set by its value; "." says that the element itself is in
// the set, too, where it has others under it. This one is {metadata.labels, metadata.labels.app, spec.containers[name=c],
// spec.containers[name=c].image}.
//
// Most sets are alike: the pods of one ReplicaSet have the same. A Shares holds each once, for all objects that have it.
//
// It imports openapi/markers and object of proa's packages. Read track.go, then diff.go.
package owners
