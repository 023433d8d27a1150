package volumes

import (
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Every source is filled, be there one or more: errors show them so.
func TestDefaultPersistent(t *testing.T) {
	got := core.PersistentVolumeSource{
		HostPath: &core.HostPathVolumeSource{}, ISCSI: &core.ISCSIPersistentVolumeSource{}, RBD: &core.RBDPersistentVolumeSource{RBDPool: "mine"},
		AzureDisk: &core.AzureDiskVolumeSource{}, ScaleIO: &core.ScaleIOPersistentVolumeSource{},
	}
	DefaultPersistent(&got)
	none, cached, fs, no, blob := core.HostPathUnset, core.AzureDataDiskCachingReadWrite, "ext4", false, core.AzureSharedBlobDisk
	want := core.PersistentVolumeSource{
		HostPath: &core.HostPathVolumeSource{Type: &none}, ISCSI: &core.ISCSIPersistentVolumeSource{ISCSIInterface: "default"},
		RBD:       &core.RBDPersistentVolumeSource{RBDPool: "mine", RadosUser: "admin", Keyring: "/etc/ceph/keyring"},
		AzureDisk: &core.AzureDiskVolumeSource{CachingMode: &cached, FSType: &fs, ReadOnly: &no, Kind: &blob},
		ScaleIO:   &core.ScaleIOPersistentVolumeSource{StorageMode: "ThinProvisioned", FSType: "xfs"},
	}
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestDefaultLegacy(t *testing.T) {
	got := core.VolumeSource{ISCSI: &core.ISCSIVolumeSource{}, RBD: &core.RBDVolumeSource{}, ScaleIO: &core.ScaleIOVolumeSource{FSType: "ext4"}}
	DefaultLegacy(&got)
	want := core.VolumeSource{ISCSI: &core.ISCSIVolumeSource{ISCSIInterface: "default"},
		RBD:     &core.RBDVolumeSource{RBDPool: "rbd", RadosUser: "admin", Keyring: "/etc/ceph/keyring"},
		ScaleIO: &core.ScaleIOVolumeSource{StorageMode: "ThinProvisioned", FSType: "ext4"}}
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
