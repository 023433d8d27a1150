// Package localvolume makes and takes back the PersistentVolumes of the built-in driver local.proa.dev, whose files lie on the disk of the
// node that the first pod was scheduled to. It touches no disk itself: the node makes the directory with the first pod; where a volume has
// to go, the node's annotations carry the order and the answer.
//
//	claim{selected-node: n1} -> PersistentVolume pvc-<uid>{affinity: hostname n1, finalizer local.proa.dev/files}
//	claim{dataSource: claim b} -> Node n1 local.proa.dev/copy -> local.proa.dev/copied -> PersistentVolume as above
//	claim asks for more -> volume's capacity -> the node's driver -> claim's status
//	volume released, Delete -> Node n1 local.proa.dev/remove -> local.proa.dev/removed -> finalizer away
//
// It sees to it that the CSIDriver and the storage class "local", the default one, are there when it starts. It imports control. Read
// plan.go, then controller.go.
package localvolume
