// Package localvolume is the built-in CSI driver local.proa.dev: volumes that are directories on a node's own disk. Like any driver it
// speaks CSI on a socket, <run directory>/local-volumes.sock, and registers with the kubelet, but it lives in the same process.
//
//	<data directory>/volumes/pvc-123/         the files: what is bound into pods
//	<data directory>/volumes/pvc-123.json     {"bytes":1073741824,"project":1048577}
//
// Its volumes are held to their size by project quotas (ext4 and xfs, mounted with prjquota). On ext4 the kernel lets processes with
// CAP_SYS_RESOURCE take more, which are those of privileged containers. Where the file system has none, a volume may
// grow beyond its size: the node's annotation local.proa.dev/quota says "none", each claim is told by an event, and a storage class with
// the parameter capacity: enforced is refused.
//
// A PersistentVolume is made by control/localvolume, which needs no disk: it leaves the size in the volume's attributes, and the directory
// comes with the first pod. The other way round, the node's annotation local.proa.dev/remove lists volumes whose files have to go;
// local.proa.dev/removed is the node's answer.
//
// A copy of another volume is made at once, while that is as its user wanted it copied: local.proa.dev/copy orders it from the node,
// local.proa.dev/copied answers, and only then there is a PersistentVolume.
//
// It imports client, object and kubelet/plugin. Read driver.go, then store.go, copy.go and quota.go.
package localvolume
