// Package node holds the kinds of node.k8s.io. It imports kinds, kinds/core, object and k8s.io/api. Read runtimeclass.go.
package node
