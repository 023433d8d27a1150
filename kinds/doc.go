// Package kinds holds everything that the API server knows of a kind, as one value per kind: Def. The kinds themselves stand in
// kinds/core, kinds/apps, ... one file each, and are listed once, in kinds/all. A CustomResourceDefinition builds the same
// untyped Kind at run time, so there is one code path for built-in and custom kinds.
//
// It imports object, apimachinery and k8s.io/api. Read def.go, then kinds/apps/deployment.go for an example.
package kinds
