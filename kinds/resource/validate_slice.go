package resource

import (
	"fmt"
	"strings"

	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

type quantity = apiresource.Quantity

// validateSlice lets taints stand that were there before.
func validateSlice(s, old *resource.ResourceSlice) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		c, p := &s.Spec, field.NewPath("spec")
		core.CSIDriverName(e, p.Child("driver"), c.Driver)
		poolName(e, p.Child("pool", "name"), c.Pool.Name)
		if c.Pool.ResourceSliceCount <= 0 {
			e.Invalid(p.Child("pool", "resourceSliceCount"), c.Pool.ResourceSliceCount, "must be greater than zero")
		}
		if c.Pool.Generation < 0 {
			e.Invalid(p.Child("pool", "generation"), c.Pool.Generation, "must be greater than or equal to zero")
		}
		before := map[string]*resource.Device{}
		if old != nil {
			e.Immutable(p.Child("pool", "name"), c.Pool.Name, old.Spec.Pool.Name)
			e.Immutable(p.Child("driver"), c.Driver, old.Spec.Driver)
			e.Immutable(p.Child("nodeName"), c.NodeName, old.Spec.NodeName)
			for i := range old.Spec.Devices {
				before[old.Spec.Devices[i].Name] = &old.Spec.Devices[i]
			}
		}
		where(e, p, c)
		if c.SharedCounters != nil && c.Devices != nil {
			e.Invalid(p, "", "only one of `sharedCounters` or `devices` is allowed")
		}
		set(e, p.Child("devices"), c.Devices, mostDevices(c), func(d *resource.Device) string { return d.Name },
			func(p *field.Path, d *resource.Device) {
				validateDevice(e, p, d, before[d.Name], c.PerDeviceNodeSelection != nil && *c.PerDeviceNodeSelection)
			})
		set(e, p.Child("sharedCounters"), c.SharedCounters, resource.ResourceSliceMaxCounterSets,
			func(s *resource.CounterSet) string { return s.Name },
			func(p *field.Path, s *resource.CounterSet) {
				named(e, p.Child("name"), s.Name)
				counters(e, p.Child("counters"), s.Counters)
			})
	})
}

// mostDevices is fewer where the devices are costly to allocate.
func mostDevices(s *resource.ResourceSliceSpec) int {
	for i := range s.Devices {
		if len(s.Devices[i].Taints) > 0 || len(s.Devices[i].ConsumesCounters) > 0 {
			return resource.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	return resource.ResourceSliceMaxDevices
}

func named(e *check.Errors, p *field.Path, name string) {
	if name == "" {
		e.Required(p, "")
		return
	}
	e.Label(p, name)
}

func counters(e *check.Errors, p *field.Path, m map[string]resource.Counter) {
	if len(m) == 0 {
		e.Required(p, "")
		return
	}
	sorted(e, p, m, resource.ResourceSliceMaxCountersPerCounterSet, func(_ *field.Path, k string, _ resource.Counter) { e.Label(p, k) })
}

// where wants one way of saying at which nodes the devices are.
func where(e *check.Errors, p *field.Path, s *resource.ResourceSliceSpec) {
	var ways []string
	if n := s.NodeName; n != nil && *n != "" {
		ways = append(ways, "`nodeName`")
		e.Invalids(p.Child("nodeName"), *n, validation.NameIsDNSSubdomain(*n, false))
	} else if n != nil {
		e.Invalid(p.Child("nodeName"), *n, "must be either unset or set to a non-empty string")
	}
	if n := s.NodeSelector; n != nil {
		ways = append(ways, "`nodeSelector`")
		core.NodeSelector(e, p.Child("nodeSelector"), n)
		if len(n.NodeSelectorTerms) != 1 {
			e.Invalid(p.Child("nodeSelector", "nodeSelectorTerms"), n.NodeSelectorTerms, "must have exactly one node selector term")
		}
	}
	ways = flag(e, p, "allNodes", s.AllNodes, ways)
	ways = flag(e, p, "perDeviceNodeSelection", s.PerDeviceNodeSelection, ways)
	const one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	switch {
	case len(ways) == 0:
		e.Required(p, one)
	case len(ways) > 1:
		e.Invalid(p, "{"+strings.Join(ways, ", ")+"}", one+", but multiple fields are set")
	}
}

// flag adds the name of a flag to those that are set. It may not be false.
func flag(e *check.Errors, p *field.Path, name string, set *bool, ways []string) []string {
	if set == nil {
		return ways
	}
	if !*set {
		e.Invalid(p.Child(name), false, "must be either unset or set to true")
		return ways
	}
	return append(ways, "`"+name+"`")
}

func validateDevice(e *check.Errors, p *field.Path, d, old *resource.Device, own bool) {
	e.Label(p.Child("name"), d.Name)
	if n := len(d.Attributes) + len(d.Capacity); n > resource.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		e.Invalid(p, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resource.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	if n := len(d.Attributes); n > resource.ResourceSliceMaxAttributeValuesPerDevice {
		e.Invalid(p, n, fmt.Sprintf("the total number of attribute values must not exceed %d", resource.ResourceSliceMaxAttributeValuesPerDevice))
	}
	at := p.Child("attributes")
	sorted(e, at, d.Attributes, -1, func(p *field.Path, k resource.QualifiedName, a resource.DeviceAttribute) {
		attributeName(e, at, string(k))
		attribute(e, p, a)
	})
	shared, in := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations, p.Child("capacity")
	sorted(e, in, d.Capacity, -1, func(p *field.Path, k resource.QualifiedName, c resource.DeviceCapacity) {
		attributeName(e, in, string(k))
		switch p = p.Child("requestPolicy"); {
		case c.RequestPolicy == nil || old != nil && equality.Semantic.DeepEqual(old.Capacity[k], c):
		case shared:
			requestPolicy(e, p, c.Value, c.RequestPolicy)
		default:
			e.Forbidden(p, "allowMultipleAllocations must be true")
		}
	})
	if old == nil || !equality.Semantic.DeepEqual(old.Taints, d.Taints) {
		list(e, p.Child("taints"), d.Taints, resource.DeviceTaintsMaxLength, func(p *field.Path, t *resource.DeviceTaint) {
			taint(e, p, t, false)
		})
	}
	set(e, p.Child("consumesCounters"), d.ConsumesCounters, resource.ResourceSliceMaxDeviceCounterConsumptionsPerDevice,
		func(c *resource.DeviceCounterConsumption) string { return c.CounterSet },
		func(p *field.Path, c *resource.DeviceCounterConsumption) {
			named(e, p.Child("counterSet"), c.CounterSet)
			counters(e, p.Child("counters"), c.Counters)
		})
	deviceWhere(e, p, d, own)
	conditions(e, p, d.BindingConditions, d.BindingFailureConditions)
}

// deviceWhere is where for one device of a slice that leaves it to its devices.
func deviceWhere(e *check.Errors, p *field.Path, d *resource.Device, own bool) {
	if !own {
		if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			e.Invalid(p, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
		}
		return
	}
	var ways []string
	if n := d.NodeName; n != nil && *n != "" {
		ways = append(ways, "`nodeName`")
		e.Invalids(p.Child("nodeName"), *n, validation.NameIsDNSSubdomain(*n, false))
	} else if n != nil {
		e.Invalid(p.Child("nodeName"), *n, "must not be empty")
	}
	if d.NodeSelector != nil {
		ways = append(ways, "`nodeSelector`")
		core.NodeSelector(e, p.Child("nodeSelector"), d.NodeSelector)
	}
	ways = flag(e, p, "allNodes", d.AllNodes, ways)
	const one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	switch {
	case len(ways) == 0:
		e.Required(p, one)
	case len(ways) > 1:
		e.Invalid(p, "{"+strings.Join(ways, ", ")+"}", one)
	}
}

func attribute(e *check.Errors, p *field.Path, a resource.DeviceAttribute) {
	n := 0
	for _, set := range []bool{a.BoolValue != nil, a.IntValue != nil, a.StringValue != nil, a.VersionValue != nil} {
		if set {
			n++
		}
	}
	if s := a.StringValue; s != nil && len(*s) > resource.DeviceAttributeMaxValueLength {
		e.Add(field.TooLong(p.Child("string"), "", resource.DeviceAttributeMaxValueLength))
	}
	if v := a.VersionValue; v != nil {
		if !semver(*v) {
			e.Invalid(p.Child("version"), *v, "must be a string compatible with semver.org spec 2.0.0")
		}
		if len(*v) > resource.DeviceAttributeMaxValueLength {
			e.Add(field.TooLong(p.Child("version"), "", resource.DeviceAttributeMaxValueLength))
		}
	}
	switch {
	case n == 0:
		e.Invalid(p, "", "exactly one value must be specified")
	case n > 1:
		e.Invalid(p, a, "exactly one value must be specified")
	}
}

// semver says whether v is major.minor.patch, with pre-release and build parts as semver.org 2.0.0 has them.
func semver(v string) bool {
	v, build, hasBuild := strings.Cut(v, "+")
	v, pre, hasPre := strings.Cut(v, "-")
	parts := strings.Split(v, ".")
	if len(parts) != 3 {
		return false
	}
	for _, n := range parts {
		if !digits(n) || len(n) > 1 && n[0] == '0' {
			return false
		}
	}
	return (!hasPre || identifiers(pre, true)) && (!hasBuild || identifiers(build, false))
}

// identifiers wants some of them between dots; numbers without leading zeros where strict.
func identifiers(s string, strict bool) bool {
	for id := range strings.SplitSeq(s, ".") {
		if id == "" || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" ||
			strict && digits(id) && len(id) > 1 && id[0] == '0' {
			return false
		}
	}
	return true
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
