// Package apiregistration holds the kind of apiregistration.k8s.io: who answers for which group and version. It imports kinds,
// object, and the wire types of k8s.io/kube-aggregator. Read apiservice.go.
package apiregistration
