// Package metrics is the group metrics.k8s.io: what nodes and pods use now. Nothing of it is stored; who asks is answered by whoever
// measures (apiserver/rest.Computed). The types are those of k8s.io/metrics.
package metrics
