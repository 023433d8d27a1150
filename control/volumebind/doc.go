// Package volumebind binds PersistentVolumeClaims to PersistentVolumes that exist: by name, or the smallest that fits in class, size,
// access modes, mode and labels. It keeps the phases of both, holds back the deletion of claims that pods use and of volumes that are
// bound (the finalizers kubernetes.io/pvc-protection and pv-protection), and releases volumes whose claim is gone.
//
// A binding is made in three writes that each may be the last before a crash: the volume's claimRef, the claim's volumeName, the two
// phases; whoever comes next takes it up where it stands. A claim of a class with WaitForFirstConsumer waits until the scheduler has chosen:
// a volume, whose claimRef then names the claim, or a node (volume.kubernetes.io/selected-node), for a provisioner to make one. Volumes
// are neither made nor destroyed here: that is a provisioner's; a volume to be deleted stays Released until one does.
//
// It imports control. Read claim.go, then volume.go and match.go.
package volumebind
