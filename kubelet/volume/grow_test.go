package volume

import (
	"errors"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func claimOf(have, asked, allocated string, step core.ClaimResourceStatus) *core.PersistentVolumeClaim {
	c := &core.PersistentVolumeClaim{}
	c.Spec.Resources.Requests = core.ResourceList{core.ResourceStorage: resource.MustParse(asked)}
	c.Status.Capacity = core.ResourceList{core.ResourceStorage: resource.MustParse(have)}
	if allocated != "" {
		c.Status.AllocatedResources = core.ResourceList{core.ResourceStorage: resource.MustParse(allocated)}
	}
	if step != "" {
		c.Status.AllocatedResourceStatuses = map[core.ResourceName]core.ClaimResourceStatus{core.ResourceStorage: step}
	}
	return c
}

func TestWhenNodesGrowVolumes(t *testing.T) {
	pv := &core.PersistentVolume{}
	pv.Spec.Capacity = core.ResourceList{core.ResourceStorage: resource.MustParse("4Gi")}
	for _, c := range []struct {
		name   string
		claim  *core.PersistentVolumeClaim
		size   string
		wanted bool
	}{
		{"as large already", claimOf("4Gi", "4Gi", "4Gi", ""), "4Gi", false},
		{"a resizer that tells nothing", claimOf("2Gi", "4Gi", "", ""), "4Gi", true},
		{"the node's turn", claimOf("2Gi", "4Gi", "3Gi", core.PersistentVolumeClaimNodeResizePending), "3Gi", true},
		{"again", claimOf("2Gi", "4Gi", "4Gi", core.PersistentVolumeClaimNodeResizeInProgress), "4Gi", true},
		{"the controller's turn", claimOf("2Gi", "4Gi", "4Gi", core.PersistentVolumeClaimControllerResizeInProgress), "4Gi", false},
		{"given up", claimOf("2Gi", "4Gi", "4Gi", core.PersistentVolumeClaimNodeResizeInfeasible), "4Gi", false},
		{"not yet", claimOf("2Gi", "4Gi", "4Gi", ""), "4Gi", false},
	} {
		if size, wanted := growth(pv, c.claim); wanted != c.wanted || size.String() != c.size {
			t.Errorf("%s: %s, %v", c.name, size.String(), wanted)
		}
	}
}

func TestStepsOfGrowth(t *testing.T) {
	size := resource.MustParse("4Gi")
	step := func(c *core.PersistentVolumeClaim) core.ClaimResourceStatus {
		return c.Status.AllocatedResourceStatuses[core.ResourceStorage]
	}
	c := claimOf("2Gi", "4Gi", "4Gi", core.PersistentVolumeClaimNodeResizePending)
	if !begun(c) || step(c) != core.PersistentVolumeClaimNodeResizeInProgress || begun(c) {
		t.Errorf("begun: %s", step(c))
	}
	if !failed(c, size, false, errors.New("no room")) || step(c) != core.PersistentVolumeClaimNodeResizeInProgress ||
		len(c.Status.Conditions) != 1 || c.Status.Conditions[0].Message != "failed to expand pvc with no room" {
		t.Errorf("failed: %+v", c.Status)
	}
	if failed(c, size, false, errors.New("no room, again")) {
		t.Errorf("told twice: %+v", c.Status)
	}
	c.Spec.Resources.Requests[core.ResourceStorage] = resource.MustParse("3Gi") // its user wants less now
	if !failed(c, size, false, errors.New("no room")) || step(c) != core.PersistentVolumeClaimNodeResizeInfeasible {
		t.Errorf("failed for a size that nobody wants: %s", step(c))
	}
	c.Status.AllocatedResourceStatuses[core.ResourceStorage] = core.PersistentVolumeClaimNodeResizeInProgress
	if !grown(c, size) || step(c) != "" || len(c.Status.Conditions) != 0 || c.Status.Capacity.Storage().Cmp(size) != 0 {
		t.Errorf("grown: %+v", c.Status)
	}
	n := claimOf("2Gi", "4Gi", "4Gi", core.PersistentVolumeClaimNodeResizeInProgress)
	if !failed(n, size, true, errors.New("too much")) || step(n) != core.PersistentVolumeClaimNodeResizeInfeasible {
		t.Errorf("infeasible: %s", step(n))
	}
}
