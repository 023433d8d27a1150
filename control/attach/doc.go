// Package attach says which volumes are to be attached to which nodes: one VolumeAttachment for each volume of a CSI driver that attaches
// and each node that has a pod with it. The driver's attacher does the rest. A volume that one node only may have is not attached to a
// second one before the first has let go; a volume is not taken from a node while its kubelet says that it is in use, unless the node is
// out of service, or has been unhealthy for six minutes.
//
//	pod on n1 with claim -> pv1 (driver d, handle h): VolumeAttachment csi-<sha256 of h+d+n1>{d, n1, pv1}
//	attached -> Node n1 status.volumesAttached: kubernetes.io/csi/d^h
//
// The key of its loop is the node. It imports control. Read plan.go, then controller.go.
package attach
