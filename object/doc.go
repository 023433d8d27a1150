// Package object holds what every part of proa says about Kubernetes objects: the Object interface, keys, resources, the
// scheme of Go types, clones. Wire types are those of k8s.io/api, used directly; errors are those of
// k8s.io/apimachinery/pkg/api/errors. It imports apimachinery and k8s.io/api only. Read object.go.
package object
