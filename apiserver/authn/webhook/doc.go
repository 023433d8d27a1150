// Package webhook asks a webhook of the operator whose token it is, by a TokenReview of authentication.k8s.io/v1. It imports authn and
// authn/kubeconfig. Read webhook.go.
package webhook
