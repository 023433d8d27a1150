// Package runtime is the folder of everything that turns images and CRI requests into processes: it knows CRI and OCI and
// nothing of the Kubernetes API. It imports kit and third-party modules only.
//
// From the outside in: cri (the RPCs) -> sandbox (a pod's namespaces and network) and container (CRI config to OCI spec)
// -> oci (who starts it: built in, or runc and its like) -> keeper (the small process that is the parent of a pod's
// containers) -> keeper/stage (what runs inside the new namespaces, up to exec). Beside them: cgroup (limits, figures,
// kills), and content, registry, snapshot, archive, image (where root file systems come from). Read cri/doc.go first.
package runtime
