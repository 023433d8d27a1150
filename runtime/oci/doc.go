// Package oci starts containers: it takes an OCI runtime specification, a root file system made of layers and a cgroup, and
// makes a process under the pod's keeper. It is a seam with two implementations that pass one suite (ocitest): Builtin
// translates the specification to what the keeper's first stage does itself; External writes a bundle and lets the keeper
// run any runc-compatible binary. Everything that happens to a container once it runs (signals, logs, exit codes, attach) is
// the keeper's, and the same for both.
//
// It imports cgroup, keeper, keeper/wire, seccomp and the runtime specification's types. Read oci.go, then builtin.go.
package oci
