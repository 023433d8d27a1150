// Package custom makes the kinds of a CustomResourceDefinition: one kinds.Kind for each of its versions, with everything that the API
// server asks of a kind. Schemas, CEL rules and the types of server-side apply are compiled when they are needed first: a hundred
// definitions that nobody uses cost their stored bytes.
//
// An object goes through Coerce (pruning, metadata) and Default as it is read from a request or from the store, through Validate before it
// is written, and through Convert where the version asked for is not the one it is in.
//
// It imports kinds, object, client, and apiserver/webhook; schemas are those of k8s.io/apiextensions-apiserver. Read build.go.
package custom
