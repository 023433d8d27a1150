// Package kubeconfig reads the kubeconfig files by which an operator names a webhook that is asked for reviews: where it is, whom to trust, and how to
// show oneself. It imports kit. Read caller.go.
package kubeconfig
