package volume

import (
	"context"
	"fmt"

	core "k8s.io/api/core/v1"

	"proa.dev/kubelet/lun"
)

// inlineDisk is a disk of a storage network that a pod names itself.
func (v *Volumes) inlineDisk(pod *core.Pod, vol *core.Volume) *lun.Volume {
	d := &lun.Volume{Pod: pod, Source: &vol.VolumeSource, Name: vol.Name}
	d.ReadOnly = vol.ISCSI != nil && vol.ISCSI.ReadOnly || vol.FC != nil && vol.FC.ReadOnly
	return d
}

// claimedDisk is one that a claim is bound to.
func claimedDisk(pod *core.Pod, vol *core.Volume, pv *core.PersistentVolume) *lun.Volume {
	return &lun.Volume{Pod: pod, PV: pv, Name: pv.Name, ReadOnly: vol.PersistentVolumeClaim != nil && vol.PersistentVolumeClaim.ReadOnly}
}

// fromNetwork brings a disk of a storage network.
func (v *Volumes) fromNetwork(ctx context.Context, d *lun.Volume) error {
	made, err := v.disks.Publish(ctx, d)
	if err != nil || !made.Own {
		return err
	}
	if err := v.own(pluginOf(d.Source, d.PV), made.Path, d.Pod, false); err != nil {
		return fmt.Errorf("applyFSGroup failed for vol %s: %w", d.Name, err)
	}
	return nil
}
