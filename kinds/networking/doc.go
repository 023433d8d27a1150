// Package networking holds the kinds of networking.k8s.io. It imports kinds, kinds/core, object and k8s.io/api. Read ingress.go.
package networking
