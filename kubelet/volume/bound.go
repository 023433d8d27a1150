package volume

import (
	"errors"
	"fmt"
	"slices"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unprocessed is an error of a claim that leads to no volume: nothing has been tried yet.
type unprocessed struct{ error }

func (e *unprocessed) Unwrap() error { return e.error }

// bound is the volume of a claim, and the claim.
func (v *Volumes) bound(pod *core.Pod, vol *core.Volume) (*core.PersistentVolume, *core.PersistentVolumeClaim, error) {
	name := claimName(pod, vol)
	pvc, err := v.usable(pod.Namespace, name)
	if err != nil {
		return nil, nil, fmt.Errorf("error processing PVC %s/%s: %w", pod.Namespace, name, err)
	}
	if vol.Ephemeral != nil && !metav1.IsControlledBy(pvc, pod) {
		return nil, nil, fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", pvc.Namespace, pvc.Name, pod.Namespace, pod.Name)
	}
	pv, err := v.behind(pvc)
	if err != nil {
		return nil, nil, fmt.Errorf("error processing PVC %s/%s: %w", pod.Namespace, name, err)
	}
	return pv, pvc, nil
}

// usable is a claim that has a volume and stays.
func (v *Volumes) usable(namespace, name string) (*core.PersistentVolumeClaim, error) {
	pvc, err := v.Sources.Claim(namespace, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	case pvc.DeletionTimestamp != nil && !slices.Contains(pvc.Finalizers, "kubernetes.io/pvc-protection"):
		// With the finalizer it stays as long as its pods do.
		return nil, errors.New("PVC is being deleted")
	case pvc.Status.Phase != core.ClaimBound:
		return nil, errors.New("PVC is not bound")
	case pvc.Spec.VolumeName == "":
		return nil, errors.New("PVC has empty pvc.Spec.VolumeName")
	}
	return pvc, nil
}

// behind is the volume of a claim, if it says the same.
func (v *Volumes) behind(pvc *core.PersistentVolumeClaim) (*core.PersistentVolume, error) {
	name := pvc.Spec.VolumeName
	pv, err := v.Sources.Volume(name)
	if err != nil {
		return nil, fmt.Errorf("failed to fetch PV %s from API server: %w", name, err)
	}
	ref := pv.Spec.ClaimRef
	if ref == nil {
		return nil, fmt.Errorf("found PV object %s but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim", name)
	}
	if ref.UID != pvc.UID {
		return nil, fmt.Errorf("found PV object %s but its pv.Spec.ClaimRef.UID %s does not point to claim.UID %s", name, ref.UID, pvc.UID)
	}
	return pv, nil
}

// How containers use a volume.
const (
	asFiles uint8 = 1 << iota
	asDevice
)

// usedBy says how the containers of a pod use its volumes, by their names.
func usedBy(pod *core.Pod) map[string]uint8 {
	out := map[string]uint8{}
	add := func(mounts []core.VolumeMount, devices []core.VolumeDevice) {
		for i := range mounts {
			out[mounts[i].Name] |= asFiles
		}
		for i := range devices {
			out[devices[i].Name] |= asDevice
		}
	}
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			add(list[i].VolumeMounts, list[i].VolumeDevices)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		add(pod.Spec.EphemeralContainers[i].VolumeMounts, pod.Spec.EphemeralContainers[i].VolumeDevices)
	}
	return out
}

// checkMode wants containers to use the volume as what it is: files or a device.
func checkMode(pod *core.Pod, name string, pv *core.PersistentVolume) error {
	switch used := usedBy(pod)[name]; {
	case isBlock(pv) && used&asFiles != 0:
		return fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeMounts", name, core.PersistentVolumeBlock)
	case !isBlock(pv) && used&asDevice != 0:
		return fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeDevices", name, core.PersistentVolumeFilesystem)
	}
	return nil
}
