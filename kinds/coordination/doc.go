// Package coordination holds the kinds of coordination.k8s.io. It imports kinds, object and k8s.io/api. Read lease.go.
package coordination
