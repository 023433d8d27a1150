// Package admission is what happens to a write between authorisation and the store, beyond the rules of its kind: an ordered,
// written-out list of Go functions. It also keeps the objects that every cluster begins with.
//
// It imports object, kinds, client, authn and authz. Read admission.go, then list.go for the order.
package admission
