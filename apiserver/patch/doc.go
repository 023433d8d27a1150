// Package patch applies JSON patches (RFC 6902), merge patches (RFC 7386) and Kubernetes' strategic merge patches to objects, with
// Kubernetes' errors. Server-side apply is apiserver/rest's, for it needs the managed fields.
//
// It imports object, apiserver/codec and apimachinery. Read patch.go.
package patch
