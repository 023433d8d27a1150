// Package rest is Kubernetes' verbs, once, for every kind: get, list, watch, create, update, patch, delete, deletecollection, and
// the subresources. It knows nothing of HTTP: the chain in apiserver and the Client in apiserver/local call the same functions,
// after they have authorised the request. The identity of the caller is in the context (authn.With).
//
// A write goes: defaults, metadata, admission (changes), what the kind prepares, validation, admission (checks), one
// compare-and-put; where the client named no resourceVersion, again from the current object if somebody was faster.
//
// It imports cache, codec, owners, patch, admission, authn, authz, kinds and store. Read api.go, then create.go and change.go.
package rest
