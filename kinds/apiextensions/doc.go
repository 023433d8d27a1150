// Package apiextensions is the kind of apiextensions.k8s.io: definitions of kinds at run time. What they define is served by
// apiserver/crd. The checks of definitions (structural schemas, CEL rules and their cost) are those of
// k8s.io/apiextensions-apiserver. It imports kinds. Read customresourcedefinition.go.
package apiextensions
