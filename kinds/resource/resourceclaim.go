package resource

import (
	"slices"
	"strings"
	"time"

	resource "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

// ResourceClaim is resource.k8s.io/v1 ResourceClaim: devices that pods need, and those that they got.
var ResourceClaim = kinds.Def[resource.ResourceClaim, *resource.ResourceClaim]{
	Path:   "resource.k8s.io/v1/resourceclaims",
	Status: true,
	Default: func(c *resource.ResourceClaim) {
		defaultClaim(&c.Spec.Devices)
		if a := c.Status.Allocation; a != nil {
			for i := range a.Devices.Results {
				for j := range a.Devices.Results[i].Tolerations {
					if t := &a.Devices.Results[i].Tolerations[j]; t.Operator == "" {
						t.Operator = resource.DeviceTolerationOpEqual
					}
				}
			}
		}
	},
	Prepare: func(c, old *resource.ResourceClaim) { dropFromClaim(&c.Spec.Devices) },
	PrepareStatus: func(c, old *resource.ResourceClaim) {
		metav1.ResetObjectMetaForStatus(c, old)
		dropFromStatus(c, old)
	},
	ValidateCreate: func(c *resource.ResourceClaim) field.ErrorList {
		return check.Run(func(e *check.Errors) { claim(e, field.NewPath("spec", "devices"), &c.Spec.Devices) })
	},
	ValidateUpdate: func(c, old *resource.ResourceClaim) field.ErrorList {
		return check.Run(func(e *check.Errors) { e.Immutable(field.NewPath("spec"), c.Spec, old.Spec) })
	},
	ValidateStatus: validateStatus,
	Columns:        kinds.Columns("Name", "State|A summary of the current state (allocated, pending, reserved, etc.).", "Age"),
	Row: func(c *resource.ResourceClaim, now time.Time) []any {
		return []any{c.Name, state(c), kinds.Age(c.CreationTimestamp, now)}
	},
}

func state(c *resource.ResourceClaim) string {
	var out []string
	if c.DeletionTimestamp != nil {
		out = append(out, "deleted")
	}
	switch {
	case c.Status.Allocation == nil:
		if c.DeletionTimestamp == nil {
			out = append(out, "pending")
		}
	case len(c.Status.ReservedFor) > 0:
		out = append(out, "allocated", "reserved")
	default:
		out = append(out, "allocated")
	}
	return strings.Join(out, ",")
}

// defaultClaim asks for one device where the client did not say how many, and for taints of equal value.
func defaultClaim(c *resource.DeviceClaim) {
	equal := func(list []resource.DeviceToleration) {
		for i := range list {
			if list[i].Operator == "" {
				list[i].Operator = resource.DeviceTolerationOpEqual
			}
		}
	}
	one := func(mode *resource.DeviceAllocationMode, count *int64) {
		if *mode == "" {
			*mode = resource.DeviceAllocationModeExactCount
		}
		if *mode == resource.DeviceAllocationModeExactCount && *count == 0 {
			*count = 1
		}
	}
	for i := range c.Requests {
		r := &c.Requests[i]
		if r.Exactly != nil {
			one(&r.Exactly.AllocationMode, &r.Exactly.Count)
			equal(r.Exactly.Tolerations)
		}
		for j := range r.FirstAvailable {
			one(&r.FirstAvailable[j].AllocationMode, &r.FirstAvailable[j].Count)
			equal(r.FirstAvailable[j].Tolerations)
		}
	}
}

func dropFromClaim(c *resource.DeviceClaim) {
	for i := range c.Requests {
		if x := c.Requests[i].Exactly; x != nil {
			x.DerivedAttributes = nil
		}
		for j := range c.Requests[i].FirstAvailable {
			c.Requests[i].FirstAvailable[j].DerivedAttributes = nil
		}
	}
}

// dropFromStatus takes away the statuses of devices that the claim has no more.
func dropFromStatus(c, old *resource.ResourceClaim) {
	had, has := allocated(old.Status.Allocation), allocated(c.Status.Allocation)
	if c.Status.Allocation != nil {
		for i := range c.Status.Allocation.Devices.Results {
			c.Status.Allocation.Devices.Results[i].SkipNodeOperations = nil
		}
	}
	c.Status.Devices = slices.DeleteFunc(c.Status.Devices, func(d resource.AllocatedDeviceStatus) bool {
		id := idOf(&d)
		return had[id] && !has[id]
	})
	if len(c.Status.Devices) == 0 {
		c.Status.Devices = nil
	}
}

// ResourceClaimTemplate is resource.k8s.io/v1 ResourceClaimTemplate: what the claims of pods are made from.
var ResourceClaimTemplate = kinds.Def[resource.ResourceClaimTemplate, *resource.ResourceClaimTemplate]{
	Path:    "resource.k8s.io/v1/resourceclaimtemplates",
	Default: func(t *resource.ResourceClaimTemplate) { defaultClaim(&t.Spec.Spec.Devices) },
	Prepare: func(t, _ *resource.ResourceClaimTemplate) { dropFromClaim(&t.Spec.Spec.Devices) },
	Validate: func(t *resource.ResourceClaimTemplate) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			p := field.NewPath("spec")
			e.Annotations(p.Child("metadata", "annotations"), t.Spec.Annotations)
			e.Labels(p.Child("metadata", "labels"), t.Spec.Labels)
			core.OnlyLabelsAndAnnotations(e, p.Child("metadata"), t.Spec.ObjectMeta)
			claim(e, p.Child("spec", "devices"), &t.Spec.Spec.Devices)
		})
	},
	ValidateUpdate: func(t, old *resource.ResourceClaimTemplate) field.ErrorList {
		return check.Run(func(e *check.Errors) { e.Immutable(field.NewPath("spec"), t.Spec, old.Spec) })
	},
	Columns: kinds.NameAndAge,
	Row: func(t *resource.ResourceClaimTemplate, now time.Time) []any {
		return []any{t.Name, kinds.Age(t.CreationTimestamp, now)}
	},
}
