// Package main is an operator as people write them, with controller-runtime: a custom kind, a controller that makes other objects of it, a
// mutating and a validating webhook, leader election, a finalizer. It knows nothing of proa; its test runs it against proa's API server.
//
//	Garden (garden.example.org/v1)  spec.beds -> as many ConfigMaps, status.planted
//
// It is a module of its own, so that what controller-runtime needs does not become what the daemon needs: "go test ./..." here, not in the
// root. The test builds proa from the folders above and runs it on loopback; with KUBECONFIG set it takes that cluster instead. Read
// garden.go, then manager.go.
package main
