package resource

import (
	"fmt"
	"strings"
	"time"

	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// ResourceSlice is resource.k8s.io/v1 ResourceSlice: some of the devices that one driver offers.
var ResourceSlice = kinds.Def[resource.ResourceSlice, *resource.ResourceSlice]{
	Path:       "resource.k8s.io/v1/resourceslices",
	Cluster:    true,
	Generation: true,
	Default: func(s *resource.ResourceSlice) {
		for i := range s.Spec.Devices {
			for j := range s.Spec.Devices[i].Taints {
				dateTaint(&s.Spec.Devices[i].Taints[j])
			}
		}
	},
	Prepare:        func(s, _ *resource.ResourceSlice) { dropFromSlice(&s.Spec) },
	ValidateCreate: func(s *resource.ResourceSlice) field.ErrorList { return validateSlice(s, nil) },
	ValidateUpdate: validateSlice,
	Warn: func(s, _ *resource.ResourceSlice) []string {
		if d := s.Spec.Driver; d != strings.ToLower(d) {
			return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", d)}
		}
		return nil
	},
	Fields: func(s *resource.ResourceSlice) map[string]string {
		return map[string]string{
			resource.ResourceSliceSelectorNodeName: ptr.Deref(s.Spec.NodeName, ""), resource.ResourceSliceSelectorDriver: s.Spec.Driver,
		}
	},
	Columns: sliceColumns(),
	Row: func(s *resource.ResourceSlice, now time.Time) []any {
		return []any{s.Name, ptr.Deref(s.Spec.NodeName, ""), s.Spec.Driver, s.Spec.Pool.Name, kinds.Age(s.CreationTimestamp, now)}
	},
}

func sliceColumns() []kinds.Column {
	spec := resource.ResourceSliceSpec{}.SwaggerDoc()
	return kinds.Columns("Name", "Node|"+spec["nodeName"], "Driver|"+spec["driver"], "Pool|"+resource.ResourcePool{}.SwaggerDoc()["name"], "Age")
}

func dropFromSlice(s *resource.ResourceSliceSpec) {
	s.SkipNodeOperations = nil
	for i := range s.Devices {
		d := &s.Devices[i]
		d.NodeAllocatableResources = nil
		for j := range d.ConsumesCounters {
			d.ConsumesCounters[j].CompatibilityGroups = nil
		}
		for k, a := range d.Attributes {
			if a.IntValues != nil || a.BoolValues != nil || a.StringValues != nil || a.VersionValues != nil {
				a.IntValues, a.BoolValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
				d.Attributes[k] = a
			}
		}
	}
}
