// Package lun brings the disks of storage networks to the node that Kubernetes mounts itself: volumes of type iscsi, by the host's
// open-iscsi, and of type fc, by what the kernel says of its Fibre Channel adapters. A disk comes once for all pods of the node that have
// it, and goes with the last of them.
//
//	Publish  -> [log in to the portals | look for the target] -> [scan for the logical unit] -> [multipath map] -> [fsck, or mkfs where
//	            there is nothing] -> mount once a disk -> bind once a pod; a block volume is a link to the device
//	Teardown -> unmount -> [unmount the disk -> remove its devices from the kernel -> log out of sessions that were ours]
//
// On disk, below the kubelet's root, in the places that Kubernetes has them:
//
//	plugins/kubernetes.io/iscsi/iface-default/10.0.0.5:3260-iqn.2001-04.org.example:a-lun-2     the disk, mounted
//	plugins/kubernetes.io/fc/50060e801049cfd1-lun-0
//	pods/<uid>/volumes/kubernetes.io~iscsi/<name>                                                 bound for a pod
//	pods/<uid>/volumeDevices/kubernetes.io~iscsi/<name> -> /dev/sdb
//
// What is made stands in a record before it is made, plugins/kubernetes.io/luns/<hash>.json, with the pods that use it, so that a kubelet
// that starts anew goes on where the last one was:
//
//	{"kind":"iscsi","portals":["10.0.0.5:3260"],"iqn":"iqn.2001-04.org.example:a","lun":2,"base":"default","interface":"default",
//	 "opened":["10.0.0.5:3260"],"users":[{"pod":"6f0c…","name":"data"}]}
//
// Devices are found in sysfs, not by the links of udev, which a host need not have; where udev is, it is given the time to look at a
// device first. It imports kit. Read lun.go, then iscsi.go, fc.go and format.go.
package lun
