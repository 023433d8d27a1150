package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kubelet/csi"
	"proa.dev/kubelet/lun"
)

// claimName is the claim that a volume of the pod stands for.
func claimName(pod *core.Pod, vol *core.Volume) string {
	if vol.PersistentVolumeClaim != nil {
		return vol.PersistentVolumeClaim.ClaimName
	}
	return pod.Name + "-" + vol.Name // of a generic ephemeral volume
}

// nameOf is what messages call a volume: the name of its PersistentVolume, if it has one.
func (v *Volumes) nameOf(pod *core.Pod, vol *core.Volume) string {
	if vol.PersistentVolumeClaim != nil || vol.Ephemeral != nil {
		if pv, _, err := v.bound(pod, vol); err == nil {
			return pv.Name
		}
	}
	return vol.Name
}

// claimed makes what a claim is bound to.
func (v *Volumes) claimed(ctx context.Context, pod *core.Pod, vol *core.Volume) (time.Time, error) {
	pv, claim, err := v.bound(pod, vol)
	if err == nil {
		err = checkMode(pod, vol.Name, pv)
	}
	if err != nil {
		return time.Time{}, &unprocessed{err}
	}
	if pv.Spec.CSI != nil {
		c := v.csiVolume(pod, vol, pv)
		renew, err := v.publish(ctx, pod, c)
		if err != nil {
			return renew, err
		}
		again := v.grow(ctx, c, claim)
		if again.IsZero() && !v.Sources.FollowsClaims() { // it may be asked to grow
			again = time.Now().Add(lookAgain)
		}
		if renew.IsZero() || !again.IsZero() && again.Before(renew) {
			renew = again
		}
		return renew, nil
	}
	if pv.Spec.NFS != nil {
		return time.Time{}, v.nfs(ctx, v.nfsDir(pod, pv.Name), pv.Spec.NFS, pv.Spec.MountOptions)
	}
	if lun.Is(nil, &pv.Spec.PersistentVolumeSource) {
		return time.Time{}, v.fromNetwork(ctx, claimedDisk(pod, vol, pv))
	}
	path, _, err := v.claim(pod, vol)
	if err != nil || pv.Spec.Local == nil || isBlock(pv) {
		return time.Time{}, err
	}
	return time.Time{}, v.own(pluginOf(nil, pv), path, pod, false)
}

// lookAgain is how often a claim is read that nobody tells of.
const lookAgain = 2 * time.Minute

func (v *Volumes) csiVolume(pod *core.Pod, vol *core.Volume, pv *core.PersistentVolume) *csi.Volume {
	return &csi.Volume{Pod: pod, PV: pv, Name: pv.Name, ReadOnly: vol.PersistentVolumeClaim != nil && vol.PersistentVolumeClaim.ReadOnly}
}

func isBlock(pv *core.PersistentVolume) bool {
	return pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == core.PersistentVolumeBlock
}

// publish has a CSI driver make a volume.
func (v *Volumes) publish(ctx context.Context, pod *core.Pod, c *csi.Volume) (time.Time, error) {
	if v.Drivers == nil {
		return time.Time{}, errors.New("no volume plugin matched")
	}
	made, err := v.Drivers.Publish(ctx, c)
	if err != nil || !made.Own {
		return made.Renew, err
	}
	if err := v.own(csi.Plugin(c.Driver()), made.Path, pod, false); err != nil {
		return made.Renew, fmt.Errorf("applyFSGroup failed for vol %s: %w", c.Name, err)
	}
	return made.Renew, nil
}

// claim resolves a claim to the path that its volume has on this node.
func (v *Volumes) claim(pod *core.Pod, vol *core.Volume) (string, bool, error) {
	pv, _, err := v.bound(pod, vol)
	if err != nil {
		return "", false, err
	}
	readOnly := vol.PersistentVolumeClaim != nil && vol.PersistentVolumeClaim.ReadOnly
	switch src := pv.Spec.PersistentVolumeSource; {
	case src.CSI != nil && v.Drivers != nil:
		return v.Drivers.Path(v.csiVolume(pod, vol, pv)), readOnly, nil
	case src.NFS != nil:
		return v.nfsDir(pod, pv.Name), readOnly || src.NFS.ReadOnly, nil
	case lun.Is(nil, &src):
		return v.disks.Path(claimedDisk(pod, vol, pv)), readOnly, nil
	case src.HostPath != nil:
		return src.HostPath.Path, readOnly, checkHostPath(src.HostPath.Path, src.HostPath.Type)
	case src.Local != nil && isBlock(pv):
		device := core.HostPathBlockDev
		return src.Local.Path, readOnly, checkHostPath(src.Local.Path, &device)
	case src.Local != nil:
		directory := core.HostPathDirectory
		return src.Local.Path, readOnly, checkHostPath(src.Local.Path, &directory)
	}
	return "", false, unknown(nil, &pv.Spec.PersistentVolumeSource)
}

// usageWithin bounds the question how full a volume is.
const usageWithin = 2 * time.Second

// Fill is what a volume's CSI driver says of its fill; nil where there is none, or where it does not say.
func (v *Volumes) Fill(pod *core.Pod, vol *core.Volume) *stats.FsStats {
	if v.Drivers == nil || vol.CSI == nil && vol.PersistentVolumeClaim == nil && vol.Ephemeral == nil {
		return nil
	}
	c := &csi.Volume{Pod: pod, Source: vol.CSI, Name: vol.Name}
	if vol.CSI == nil {
		pv, _, err := v.bound(pod, vol)
		if err != nil || pv.Spec.CSI == nil {
			return nil
		}
		c = v.csiVolume(pod, vol, pv)
	}
	ctx, cancel := context.WithTimeout(context.Background(), usageWithin)
	defer cancel()
	u, err := v.Drivers.Usage(ctx, c)
	if err != nil {
		v.Log.Debug("volume not measured", "ns", pod.Namespace, "name", pod.Name, "volume", c.Name, "err", err)
	}
	if u == nil {
		return nil
	}
	unsigned := func(n *int64) *uint64 {
		if n == nil || *n < 0 {
			return nil
		}
		return new(uint64(*n))
	}
	return &stats.FsStats{
		Time: metav1.NewTime(u.At), CapacityBytes: unsigned(u.Total), UsedBytes: unsigned(u.Used), AvailableBytes: unsigned(u.Free),
		Inodes: unsigned(u.Inodes), InodesUsed: unsigned(u.InodesUsed), InodesFree: unsigned(u.InodesFree),
	}
}

// Devices are the block volumes of one container. The volumes must have been made by Sync.
func (v *Volumes) Devices(pod *core.Pod, c *core.Container) ([]*runtimeapi.Device, error) {
	var out []*runtimeapi.Device
	for i := range c.VolumeDevices {
		d := &c.VolumeDevices[i]
		vol := find(pod, d.Name)
		if vol == nil {
			return nil, fmt.Errorf("cannot find volume %q to pass into container %q", d.Name, c.Name)
		}
		path, readOnly, err := v.Path(pod, vol)
		if err != nil {
			return nil, err
		}
		if path, err = filepath.EvalSymlinks(path); err != nil { // what a runtime takes for a device is a device
			return nil, err
		}
		permissions := "mrw"
		if readOnly {
			permissions = "r"
		}
		out = append(out, &runtimeapi.Device{ContainerPath: d.DevicePath, HostPath: path, Permissions: permissions})
	}
	return out, nil
}
