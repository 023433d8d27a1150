// Package batch holds the kinds of the batch group. It imports kinds, kinds/core for pod templates, object and k8s.io/api.
// Read job.go.
package batch
