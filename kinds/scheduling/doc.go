// Package scheduling holds the kinds of scheduling.k8s.io. It imports kinds, object and k8s.io/api. Read priorityclass.go.
package scheduling
