// Package flowcontrol holds the kinds of flowcontrol.apiserver.k8s.io: which requests share the API server's capacity, and how; and
// the objects of them that every cluster has (defaults.go). Package apiserver/flow acts on them. It imports kinds, kinds/check and
// k8s.io/api. Read flowschema.go.
package flowcontrol
