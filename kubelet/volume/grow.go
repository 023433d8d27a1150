package volume

import (
	"context"
	"fmt"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kubelet/csi"
)

// growAgain is when a volume is tried again that could not be enlarged.
const growAgain = 30 * time.Second

// grow enlarges a volume of which more was asked for than it has, tells in the claim how far it is (KEP-1790), and says when to try again
// (zero: it need not). A volume that stays small is no reason to keep the pod from running.
func (v *Volumes) grow(ctx context.Context, c *csi.Volume, claim *core.PersistentVolumeClaim) (again time.Time) {
	size, wanted := growth(c.PV, claim)
	if !wanted || c.ReadOnly {
		return time.Time{}
	}
	can, err := v.Drivers.Grows(c)
	if err == nil && !can {
		return time.Time{}
	}
	began := time.Now()
	if err == nil {
		err = v.Sources.Tell(ctx, claim, begun)
	}
	if err == nil {
		err = v.enlarge(ctx, c, claim, size)
	}
	v.operations.Add(csi.Plugin(c.Driver()), "volume_fs_resize", began, err)
	if err != nil {
		v.Events.Event(c.Pod, core.EventTypeWarning, "VolumeResizeFailed", "NodeExpandVolume.NodeExpandVolume failed for volume %q : %v", c.Name, err)
		return time.Now().Add(growAgain)
	}
	v.Events.Event(c.Pod, core.EventTypeNormal, "FileSystemResizeSuccessful", "MountVolume.NodeExpandVolume succeeded for volume %q ", c.Name)
	return time.Time{}
}

// enlarge has the driver do it, and tells what came of it.
func (v *Volumes) enlarge(ctx context.Context, c *csi.Volume, claim *core.PersistentVolumeClaim, size resource.Quantity) error {
	err := v.Drivers.Grow(ctx, c, size)
	if err == nil {
		return v.Sources.Tell(ctx, claim, func(n *core.PersistentVolumeClaim) bool { return grown(n, size) })
	}
	ended, infeasible := csi.Final(err), csi.Infeasible(err)
	word := "Expander.NodeExpand failed to expand the volume : %w"
	if infeasible {
		word = "Expander.NodeExpand failed to expand the volume %w"
	}
	err = fmt.Errorf(word, err)
	if !ended {
		return err
	}
	if tell := v.Sources.Tell(ctx, claim, func(n *core.PersistentVolumeClaim) bool { return failed(n, size, infeasible, err) }); tell != nil {
		v.Log.Warn("failed growth not told", "ns", claim.Namespace, "claim", claim.Name, "err", tell)
	}
	return err
}

// growth is the size that a volume is to get on the node, if it is the node's turn. A resizer that tells nothing of its steps has done its part
// when the PersistentVolume is larger.
func growth(pv *core.PersistentVolume, claim *core.PersistentVolumeClaim) (size resource.Quantity, wanted bool) {
	size, have := pv.Spec.Capacity[core.ResourceStorage], claim.Status.Capacity[core.ResourceStorage]
	if size.Cmp(have) <= 0 {
		return size, false
	}
	step := claim.Status.AllocatedResourceStatuses[core.ResourceStorage]
	if step == "" && claim.Status.AllocatedResources == nil {
		return size, true
	}
	if q, ok := claim.Status.AllocatedResources[core.ResourceStorage]; ok {
		size = q
	}
	return size, step == core.PersistentVolumeClaimNodeResizePending || step == core.PersistentVolumeClaimNodeResizeInProgress
}

// begun notes that the node is at it.
func begun(claim *core.PersistentVolumeClaim) bool {
	steps := claim.Status.AllocatedResourceStatuses
	if steps[core.ResourceStorage] != core.PersistentVolumeClaimNodeResizePending {
		return false
	}
	steps[core.ResourceStorage] = core.PersistentVolumeClaimNodeResizeInProgress
	return true
}

// failed notes an end without success. Where it can never succeed, or has failed twice for a size that is not asked for any more, the controller
// may go back to another size.
func failed(claim *core.PersistentVolumeClaim, size resource.Quantity, infeasible bool, err error) (changed bool) {
	is := func(c core.PersistentVolumeClaimCondition) bool {
		return c.Type == core.PersistentVolumeClaimNodeResizeError && c.Status == core.ConditionTrue
	}
	before := slices.ContainsFunc(claim.Status.Conditions, is)
	if asked := claim.Spec.Resources.Requests[core.ResourceStorage]; before && asked.Cmp(size) != 0 {
		infeasible = true
	}
	if steps := claim.Status.AllocatedResourceStatuses; infeasible && steps[core.ResourceStorage] == core.PersistentVolumeClaimNodeResizeInProgress {
		steps[core.ResourceStorage], changed = core.PersistentVolumeClaimNodeResizeInfeasible, true
	}
	if before {
		return changed
	}
	claim.Status.Conditions = append(slices.DeleteFunc(claim.Status.Conditions, func(c core.PersistentVolumeClaimCondition) bool {
		return c.Type == core.PersistentVolumeClaimNodeResizeError
	}), core.PersistentVolumeClaimCondition{
		Type: core.PersistentVolumeClaimNodeResizeError, Status: core.ConditionTrue, LastTransitionTime: metav1.Now(),
		Message: fmt.Sprintf("failed to expand pvc with %v", err),
	})
	return true
}

// grown notes that the volume has become as large as size.
func grown(claim *core.PersistentVolumeClaim, size resource.Quantity) bool {
	if claim.Status.Capacity == nil {
		claim.Status.Capacity = core.ResourceList{}
	}
	claim.Status.Capacity[core.ResourceStorage] = size
	claim.Status.Conditions = slices.DeleteFunc(claim.Status.Conditions, func(c core.PersistentVolumeClaimCondition) bool {
		switch c.Type {
		case core.PersistentVolumeClaimResizing, core.PersistentVolumeClaimFileSystemResizePending,
			core.PersistentVolumeClaimControllerResizeError, core.PersistentVolumeClaimNodeResizeError:
			return true
		}
		return false
	})
	delete(claim.Status.AllocatedResourceStatuses, core.ResourceStorage)
	return true
}
