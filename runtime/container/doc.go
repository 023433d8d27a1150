// Package container turns what CRI says of a container, and what its image says, into an OCI runtime specification and the
// limits of its cgroup. It is a translation: the same request gives the same result, apart from the host's devices and the
// stat of mount sources. It imports apparmor, cdi, oci, cgroup, sandbox, keeper/wire, the CRI and OCI types. Read spec.go, then mounts.go and
// security.go.
package container
