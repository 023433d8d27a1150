package volume

import (
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/csi"
)

// known is what is known of one volume of a pod. The zero value is one that nobody has begun to make.
type known struct {
	plugin string
	asked  time.Time
	made   bool
	block  bool
}

// pluginOf is what metrics call the maker of a volume, "" where there is none.
func pluginOf(vol *core.VolumeSource, pv *core.PersistentVolume) string {
	if pv != nil {
		return pluginOfPV(&pv.Spec.PersistentVolumeSource)
	}
	switch {
	case vol.EmptyDir != nil:
		return "kubernetes.io/empty-dir"
	case vol.HostPath != nil:
		return "kubernetes.io/host-path"
	case vol.ConfigMap != nil:
		return "kubernetes.io/configmap"
	case vol.Secret != nil:
		return "kubernetes.io/secret"
	case vol.DownwardAPI != nil:
		return "kubernetes.io/downward-api"
	case vol.Projected != nil:
		return "kubernetes.io/projected"
	case vol.CSI != nil:
		return csi.Plugin(vol.CSI.Driver)
	case vol.NFS != nil:
		return "kubernetes.io/nfs"
	case vol.ISCSI != nil:
		return "kubernetes.io/iscsi"
	case vol.FC != nil:
		return "kubernetes.io/fc"
	case vol.Image != nil:
		return "kubernetes.io/image"
	}
	return ""
}

func pluginOfPV(src *core.PersistentVolumeSource) string {
	switch {
	case src.CSI != nil:
		return csi.Plugin(src.CSI.Driver)
	case src.NFS != nil:
		return "kubernetes.io/nfs"
	case src.HostPath != nil:
		return "kubernetes.io/host-path"
	case src.Local != nil:
		return "kubernetes.io/local-volume"
	case src.ISCSI != nil:
		return "kubernetes.io/iscsi"
	case src.FC != nil:
		return "kubernetes.io/fc"
	}
	return ""
}

// begin notes that volume i of the pod is to be made, unless nobody knows yet what it is.
func (v *Volumes) begin(pod *core.Pod, i int, now time.Time) {
	vol := &pod.Spec.Volumes[i]
	var pv *core.PersistentVolume
	if vol.PersistentVolumeClaim != nil || vol.Ephemeral != nil {
		var err error
		if pv, _, err = v.bound(pod, vol); err != nil {
			return
		}
	}
	plugin := pluginOf(&vol.VolumeSource, pv)
	if plugin == "" {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known[pod.UID]) == 0 {
		v.known[pod.UID] = make([]known, len(pod.Spec.Volumes)) // they never change
	}
	if k := &v.known[pod.UID][i]; k.plugin == "" {
		*k = known{plugin: plugin, asked: now, block: pv != nil && isBlock(pv)}
	}
}

// end notes how that went. What is there already counts once, but for files that follow objects: they are written each time.
func (v *Volumes) end(pod *core.Pod, i int, began time.Time, err error) {
	vol := &pod.Spec.Volumes[i]
	v.mu.Lock()
	defer v.mu.Unlock()
	if i >= len(v.known[pod.UID]) || (&Error{Err: err}).unprocessed() {
		return
	}
	k := &v.known[pod.UID][i]
	asked := k.asked
	if k.made {
		asked = began
		if vol.ConfigMap == nil && vol.Secret == nil && vol.DownwardAPI == nil && vol.Projected == nil && err == nil {
			return
		}
	}
	k.made = k.made || err == nil
	if k.block {
		v.operations.Add(k.plugin, "map_volume", began, err)
		return
	}
	v.operations.Add(k.plugin, "volume_mount", began, err)
	if err == nil {
		v.operations.Whole(k.plugin, "overall_volume_mount", asked)
	}
}

// step is what fails when a volume can not be made: a device or files, of a driver or not.
func (v *Volumes) step(pod *core.Pod, i int) (block bool, step string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch all := v.known[pod.UID]; {
	case i >= len(all) || !all[i].block:
		return false, "MountVolume.SetUp"
	case driven(all[i].plugin):
		return true, "MapVolume.MapPodDevice"
	}
	return true, "MapVolume.EvalHostSymlinks"
}

// gone notes that the volumes of a pod were taken away, or that this failed. Drivers tell of their volumes themselves.
func (v *Volumes) gone(uid types.UID, began time.Time, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.known[uid] {
		switch {
		case !k.made || driven(k.plugin):
		case k.block:
			v.operations.Add(k.plugin, "unmap_volume", began, err)
		default:
			v.operations.Add(k.plugin, "volume_unmount", began, err)
		}
	}
	if err == nil {
		delete(v.known, uid)
	}
}

func driven(plugin string) bool {
	return len(plugin) > len(csi.Plugin("")) && plugin[:len(csi.Plugin(""))] == csi.Plugin("")
}

// own gives a volume's files to the pod's fsGroup.
func (v *Volumes) own(plugin, dir string, pod *core.Pod, readOnly bool) error {
	if !changesOwner(dir, pod) {
		return nil
	}
	began := time.Now()
	err := setOwnership(dir, pod, readOnly)
	v.operations.Add(plugin, "volume_apply_access_control", began, err)
	return err
}

// Page shows how long it took to make volumes and which there are, and what pods have of certificates.
func (v *Volumes) Page(p *prom.Page) {
	if v.certs != nil {
		v.certs.Page(p)
	}
	v.operations.Page(p)
	var there prom.Counts[[2]string]
	v.mu.Lock()
	for _, list := range v.known {
		for _, k := range list {
			if k.plugin == "" {
				continue
			}
			there.Add([2]string{k.plugin, "desired_state_of_world"}, 1)
			if k.made {
				there.Add([2]string{k.plugin, "actual_state_of_world"}, 1)
			}
		}
	}
	v.mu.Unlock()
	there.PageAs(p, "gauge", "volume_manager_total_volumes", "[ALPHA] Volumes that pods want, and those that are made.", [2]string{"plugin_name", "state"})
}
