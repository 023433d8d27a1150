// Package check collects the errors of validation. A validator takes *Errors and adds to it, so that it needs no lists of its own;
// what recurs in many kinds (names, numbers, ports, enums) is a method here. Messages are those of Kubernetes.
//
// It imports apimachinery only. Read check.go.
package check
