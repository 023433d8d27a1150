// Package volumes knows the sources that a volume of a pod and a persistent volume may have: which of them are set, in the order in
// which Kubernetes looks at them, and what must be in those that came from plugins inside it. It imports kinds/check. Read sources.go.
package volumes
