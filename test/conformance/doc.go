// Command conformance runs the public Kubernetes conformance tests, which everybody can get as the program e2e.test, against a
// cluster, one work package at a time, and writes who passed, failed and was left out.
//
//	conformance -e2e ./e2e.test -kubeconfig ~/.kube/config [-out results] [-procs 8] [-timeout 1h] P1 P13
//
// It imports nothing of proa: any cluster will do. packages.go is the list of packages; read main.go first. README.md has the last
// result.
package main
