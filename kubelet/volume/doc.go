// Package volume makes the volumes of pods on the node: directories, tmpfs, files that follow ConfigMaps, Secrets, tokens and the
// downward API, and what claims are bound to. Sync is level-triggered: it may be called at any time and again, makes what is missing,
// rewrites what changed, and says when a token wants to be renewed. Teardown takes everything away again, also what an earlier
// process made.
//
// On disk, under <root>/pods/<uid>:
//
//	volumes/kubernetes.io~empty-dir/<name>/     an emptyDir (a tmpfs mount for medium Memory)
//	volumes/kubernetes.io~configmap/<name>/     files by atomic writer: key -> ..data/key, ..data -> ..2026_11_22_10_15_03.123
//	volume-subpaths/<volume>/<container>/<n>    bind mounts of subPaths, resolved beneath their volume
//
// Volumes that may hold secrets (secret, projected) lie in the same layout in one tmpfs, <root>/memory/<uid>/<name>, so that they
// never reach a disk; one mount for all pods keeps starting a pod cheap.
//
// What claims are bound to, and volumes of CSI drivers, are made by kubelet/csi (claim.go); disks of storage
// networks (iscsi, fc) by kubelet/lun, NFS by the host's mount(8). Of older types of volumes the error names the driver that came after
// them (foreign.go).
//
// It imports object, client and kubelet/{spec,csi,lun,podcert}. Read volume.go, then files.go, trust.go and claim.go.
package volume
