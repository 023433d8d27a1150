// Package discovery holds the kinds of discovery.k8s.io. It imports kinds, object and k8s.io/api. Read endpointslice.go.
package discovery
