package resource

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kcel "k8s.io/apiserver/pkg/cel"

	"proa.dev/kinds/cel"
	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
	"proa.dev/kinds/resource/device"
)

// list checks each item of a list, unless there are more than most (-1: any number).
func list[T any](e *check.Errors, p *field.Path, items []T, most int, each func(*field.Path, *T)) bool {
	if most >= 0 && len(items) > most {
		e.Add(field.TooMany(p, len(items), most))
		return false
	}
	for i := range items {
		each(p.Index(i), &items[i])
	}
	return true
}

// set is list for items of which no two may have the same key.
func set[T any, K comparable](e *check.Errors, p *field.Path, items []T, most int, key func(*T) K, each func(*field.Path, *T)) {
	if !list(e, p, items, most, each) {
		return
	}
	seen := make(map[K]bool, len(items))
	for i := range items {
		k := key(&items[i])
		if seen[k] {
			e.Duplicate(p.Index(i), k)
		}
		seen[k] = true
	}
}

// sorted calls each for what m holds, in the order of the keys; with long keys cut in the middle in the path.
func sorted[K cmp.Ordered, T any](e *check.Errors, p *field.Path, m map[K]T, most int, each func(at *field.Path, k K, v T)) {
	if most >= 0 && len(m) > most {
		e.Add(field.TooMany(p, len(m), most))
		return
	}
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		each(p.Key(shortened(fmt.Sprint(k))), k, m[k])
	}
}

// shortened cuts the key of an attribute, a domain and a name, in the middle if it is longer than a valid one.
func shortened(s string) string {
	const most = resource.DeviceMaxDomainLength + 1 + resource.DeviceMaxIDLength
	if len(s) <= most {
		return s
	}
	left := most - len("...")
	return s[:(left+1)/2] + "..." + s[len(s)-left/2:]
}

func itself(s *string) string { return *s }

// requests are the names that a claim's other parts may refer to, with those of their alternatives.
type requests map[string][]string

func requestsOf(c *resource.DeviceClaim) requests {
	out := requests{}
	for _, r := range c.Requests {
		var subs []string
		for _, s := range r.FirstAvailable {
			subs = append(subs, s.Name)
		}
		out[r.Name] = subs
	}
	return out
}

func (r requests) reference(e *check.Errors, p *field.Path, name string) {
	const wrong = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		e.Invalid(p, name, wrong)
		return
	}
	for _, part := range parts {
		e.Label(p, part)
	}
	if subs, ok := r[parts[0]]; !ok || len(parts) == 2 && !slices.Contains(subs, parts[1]) {
		e.Invalid(p, name, wrong)
	}
}

// names checks a list of references to requests.
func (r requests) names(e *check.Errors, p *field.Path, names []string) {
	set(e, p, names, resource.DeviceRequestsMaxSize, itself, func(p *field.Path, n *string) { r.reference(e, p, *n) })
}

// claim checks what a claim asks for.
func claim(e *check.Errors, p *field.Path, c *resource.DeviceClaim) {
	all := requestsOf(c)
	set(e, p.Child("requests"), c.Requests, resource.DeviceRequestsMaxSize, func(r *resource.DeviceRequest) string { return r.Name },
		func(p *field.Path, r *resource.DeviceRequest) { request(e, p, r) })
	list(e, p.Child("constraints"), c.Constraints, resource.DeviceConstraintsMaxSize, func(p *field.Path, c *resource.DeviceConstraint) {
		all.names(e, p.Child("requests"), c.Requests)
		switch {
		case c.MatchAttribute != nil:
			fullName(e, p.Child("matchAttribute"), *c.MatchAttribute)
		case c.DistinctAttribute != nil:
			fullName(e, p.Child("distinctAttribute"), *c.DistinctAttribute)
		default:
			e.Required(p, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
		}
	})
	list(e, p.Child("config"), c.Config, resource.DeviceConfigMaxSize, func(p *field.Path, c *resource.DeviceClaimConfiguration) {
		all.names(e, p.Child("requests"), c.Requests)
		configuration(e, p, &c.DeviceConfiguration, false)
	})
}

func request(e *check.Errors, p *field.Path, r *resource.DeviceRequest) {
	e.Label(p.Child("name"), r.Name)
	const one = "exactly one of `exactly` or `firstAvailable` is required"
	switch several := len(r.FirstAvailable) > 0; {
	case several && r.Exactly != nil:
		e.Invalid(p, nil, one+", but multiple fields are set")
	case several:
		set(e, p.Child("firstAvailable"), r.FirstAvailable, resource.FirstAvailableDeviceRequestMaxSize,
			func(s *resource.DeviceSubRequest) string { return s.Name },
			func(p *field.Path, s *resource.DeviceSubRequest) {
				e.Label(p.Child("name"), s.Name)
				wanted(e, p, &resource.ExactDeviceRequest{DeviceClassName: s.DeviceClassName, Selectors: s.Selectors,
					AllocationMode: s.AllocationMode, Count: s.Count, Tolerations: s.Tolerations})
			})
	case r.Exactly != nil:
		wanted(e, p.Child("exactly"), r.Exactly)
	default:
		e.Required(p, one)
	}
}

// wanted checks the devices that one request asks for.
func wanted(e *check.Errors, p *field.Path, r *resource.ExactDeviceRequest) {
	if c := p.Child("deviceClassName"); r.DeviceClassName == "" {
		e.Required(c, "")
	} else {
		e.Subdomain(c, r.DeviceClassName)
	}
	selectors(e, p.Child("selectors"), r.Selectors, cel.New)
	switch r.AllocationMode {
	case resource.DeviceAllocationModeAll:
		if r.Count != 0 {
			e.Invalid(p.Child("count"), r.Count, fmt.Sprintf("must not be specified when allocationMode is '%s'", r.AllocationMode))
		}
	case resource.DeviceAllocationModeExactCount:
		e.Positive(p.Child("count"), r.Count)
	default:
		check.OneOf(e, p.Child("allocationMode"), r.AllocationMode, resource.DeviceAllocationModeAll, resource.DeviceAllocationModeExactCount)
	}
	for i := range r.Tolerations {
		toleration(e, p.Child("tolerations").Index(i), &r.Tolerations[i])
	}
}

var effects = [...]resource.DeviceTaintEffect{resource.DeviceTaintEffectNoExecute, resource.DeviceTaintEffectNoSchedule, resource.DeviceTaintEffectNone}

func toleration(e *check.Errors, p *field.Path, t *resource.DeviceToleration) {
	if t.Key != "" {
		e.LabelName(p.Child("key"), t.Key)
	}
	switch t.Operator {
	case resource.DeviceTolerationOpExists:
		if t.Value != "" {
			e.Invalid(p.Child("value"), t.Value, "must be empty for operator `Exists`")
		}
	case resource.DeviceTolerationOpEqual:
		e.Invalids(p.Child("value"), t.Value, utilvalidation.IsValidLabelValue(t.Value))
	case "":
		e.Required(p.Child("operator"), "")
	default:
		check.OneOf(e, p.Child("operator"), t.Operator, resource.DeviceTolerationOpEqual, resource.DeviceTolerationOpExists)
	}
	if t.Effect != "" {
		check.OneOf(e, p.Child("effect"), t.Effect, effects[:]...)
	}
}

func selectors(e *check.Errors, p *field.Path, s []resource.DeviceSelector, age cel.Age) {
	list(e, p, s, resource.DeviceSelectorsMaxSize, func(p *field.Path, s *resource.DeviceSelector) {
		p = p.Child("cel")
		if s.CEL == nil {
			e.Required(p, "")
			return
		}
		p = p.Child("expression")
		if len(s.CEL.Expression) > resource.CELSelectorExpressionMaxLength {
			e.Add(field.TooLong(p, "", resource.CELSelectorExpressionMaxLength))
			return
		}
		switch _, cost, err := device.Compile(s.CEL.Expression, age); {
		case err == nil && cost > resource.CELSelectorExpressionMaxCost:
			e.Forbidden(p, "too complex, exceeds cost limit")
		case err == nil:
		case err.Type == kcel.ErrorTypeInvalid:
			e.Invalid(p, s.CEL.Expression, err.Detail)
		default:
			e.Add(field.InternalError(p, err))
		}
	})
}

// configuration checks what is handed to a driver. settled says that it has been accepted before.
func configuration(e *check.Errors, p *field.Path, c *resource.DeviceConfiguration, settled bool) {
	p = p.Child("opaque")
	if c.Opaque == nil {
		e.Required(p, "")
		return
	}
	core.CSIDriverName(e, p.Child("driver"), c.Opaque.Driver)
	most := resource.OpaqueParametersMaxLength
	if settled {
		most = -1
	}
	rawObject(e, p.Child("parameters"), c.Opaque.Parameters, most)
}

// rawObject wants a JSON object of at most so many bytes (-1: any).
func rawObject(e *check.Errors, p *field.Path, raw runtime.RawExtension, most int) {
	var v any
	switch {
	case len(raw.Raw) == 0:
		e.Required(p, "")
		return
	case most >= 0 && len(raw.Raw) > most:
		e.Add(field.TooLong(p, "", most))
		return
	}
	if err := json.Unmarshal(raw.Raw, &v); err != nil {
		e.Invalid(p, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))
	} else if v == nil {
		e.Required(p, "")
	} else if _, ok := v.(map[string]any); !ok {
		e.Invalid(p, "<value omitted>", "must be a valid JSON object")
	}
}

// fullName wants "domain/name".
func fullName(e *check.Errors, p *field.Path, n resource.FullyQualifiedName) {
	attributeName(e, p, string(n))
	if !strings.Contains(string(n), "/") {
		e.Invalid(p, n, "a fully qualified name must be a domain and a name separated by a slash")
	}
}

// attributeName wants "name" or "domain/name". A name with more slashes is let through, as in Kubernetes.
func attributeName(e *check.Errors, p *field.Path, n string) {
	parts := strings.Split(n, "/")
	if len(parts) == 2 {
		if parts[0] == "" {
			e.Invalid(p, "", "the domain must not be empty")
		} else {
			core.CSIDriverName(e, p, parts[0])
		}
		if parts[1] == "" {
			e.Invalid(p, "", "the name must not be empty")
			return
		}
	}
	if id := parts[len(parts)-1]; len(parts) <= 2 {
		if len(id) > resource.DeviceMaxIDLength {
			e.Add(field.TooLong(p, "", resource.DeviceMaxIDLength))
		}
		e.Invalids(p, id, utilvalidation.IsCIdentifier(id))
	}
}

func poolName(e *check.Errors, p *field.Path, name string) {
	if name == "" {
		e.Required(p, "")
		return
	}
	if len(name) > resource.PoolNameMaxLength {
		e.Add(field.TooLong(p, "", resource.PoolNameMaxLength))
	}
	for part := range strings.SplitSeq(name, "/") {
		e.Subdomain(p, part)
	}
}

// conditions checks the conditions that binding to a device waits for, or gives up at.
func conditions(e *check.Errors, p *field.Path, binding, failure []string) {
	on, off := p.Child("bindingConditions"), p.Child("bindingFailureConditions")
	list(e, on, binding, resource.BindingConditionsMaxSize, func(p *field.Path, c *string) { e.LabelName(p, *c) })
	list(e, off, failure, resource.BindingFailureConditionsMaxSize, func(p *field.Path, c *string) { e.LabelName(p, *c) })
	for i, c := range binding {
		if slices.Contains(binding[:i], c) {
			e.Duplicate(on.Index(i), c)
		}
	}
	for i, c := range failure {
		if slices.Contains(failure[:i], c) {
			e.Duplicate(off.Index(i), c)
		}
		if slices.Contains(binding, c) {
			e.Invalid(off.Index(i), c, "bindingFailureConditions must not overlap with bindingConditions")
		}
	}
	if len(binding) == 0 && len(failure) > 0 {
		e.Invalid(on, binding, "bindingConditions are required to use bindingFailureConditions")
	}
	if len(failure) == 0 && len(binding) > 0 {
		e.Invalid(off, failure, "bindingFailureConditions are required to use bindingConditions")
	}
}
