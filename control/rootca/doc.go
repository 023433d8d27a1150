// Package rootca keeps a ConfigMap named kube-root-ca.crt, with the cluster's CA bundle, in every namespace: pods get it along with
// their ServiceAccount token. It imports control. Read controller.go.
package rootca
