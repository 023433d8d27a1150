// Package ocitest is the suite that every implementation of oci.Runtime passes, with what it needs: a keeper, a cgroup and
// a root file system that holds one static program (box). Tests of other packages of the runtime use those parts too. It
// needs root and a real kernel. Read suite.go.
package ocitest
