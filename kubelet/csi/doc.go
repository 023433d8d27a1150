// Package csi is the node's side of the Container Storage Interface (CSI 1.x): drivers register beside the kubelet, say what they are, and
// make volumes for pods when asked. It writes the node's CSINode, the labels of the drivers' topology, and which attached volumes are in
// use; it waits for the attachments that others make.
//
//	Register -> NodeGetInfo -> CSINode, labels
//	Publish  -> [wait for VolumeAttachment] -> [NodeStageVolume once a volume] -> NodePublishVolume once a pod
//	Teardown -> NodeUnpublishVolume -> [NodeUnstageVolume by the last pod]
//
// What is made stands on disk, so that a kubelet that starts anew mounts nothing twice and takes away what nobody uses any more. The
// places are those of Kubernetes, below the kubelet's root:
//
//	plugins/kubernetes.io/csi/<driver>/<sha256 of the handle>/globalmount            staged; vol_data.json beside it
//	pods/<uid>/volumes/kubernetes.io~csi/<name>/mount                                published; vol_data.json beside it
//	plugins/kubernetes.io/csi/volumeDevices/{staging/<name>,publish/<name>/<uid>}    the same for block volumes
//	plugins/kubernetes.io/csi/volumeDevices/<name>/data/vol_data.json
//	pods/<uid>/volumeDevices/kubernetes.io~csi/<name>                                link to the published device
//
// It imports client, kit, object and kubelet/plugin. Read volume.go, then drivers.go, disk.go and later.go.
package csi
