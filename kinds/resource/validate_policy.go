package resource

import (
	"fmt"
	"math"
	"slices"

	resource "k8s.io/api/resource/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// requestPolicy checks which amounts of a capacity one request may get.
func requestPolicy(e *check.Errors, p *field.Path, all quantity, r *resource.CapacityRequestPolicy) {
	switch {
	case len(r.ValidValues) > 0 && r.ValidRange != nil:
		e.Forbidden(p, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)
	case len(r.ValidValues) > 0 && r.Default == nil:
		e.Required(p.Child("default"), "required when validValues is defined")
	case len(r.ValidValues) > 0:
		validValues(e, p.Child("validValues"), all, *r.Default, r.ValidValues)
	case r.ValidRange != nil && r.Default == nil:
		e.Required(p.Child("default"), "required when validRange is defined")
	case r.ValidRange != nil:
		validRange(e, p.Child("validRange"), all, *r.Default, r.ValidRange)
	}
}

const mostValues = 10 // that a policy may list

func validValues(e *check.Errors, p *field.Path, all, first quantity, values []quantity) {
	for i := range len(values) - 1 {
		if values[i].Cmp(values[i+1]) > 0 {
			e.Invalid(p.Index(i+1), values[i+1].String(), "values must be sorted in ascending order")
		}
	}
	found := false
	set(e, p, values, mostValues, func(v *quantity) string { c := v.DeepCopy(); return c.AsDec().String() }, func(p *field.Path, v *quantity) {
		if v.Cmp(all) > 0 {
			e.Invalid(p, v.String(), fmt.Sprintf("option is larger than capacity value: %s", &all))
		}
		found = found || v.Cmp(first) == 0
	})
	if !found {
		e.Invalid(p, first.String(), "default value is not valid according to the requestPolicy")
	}
}

func validRange(e *check.Errors, p *field.Path, all, first quantity, r *resource.CapacityRequestPolicyRange) {
	if r.Min == nil {
		e.Required(p.Child("min"), "required when validRange is defined")
		return
	}
	if r.Min.Cmp(all) > 0 {
		e.Invalid(p.Child("min"), r.Min.String(), fmt.Sprintf("min is larger than capacity value: %s", &all))
	}
	if first.Cmp(*r.Min) < 0 {
		e.Invalid(p.Child("default"), first.String(), fmt.Sprintf("default is less than min: %s", r.Min))
	}
	if r.Max != nil {
		at := p.Child("max")
		if r.Min.Cmp(*r.Max) > 0 {
			e.Invalid(at, r.Min.String(), fmt.Sprintf("min is larger than max: %s", r.Max))
		}
		if r.Max.Cmp(all) > 0 {
			e.Invalid(at, r.Max.String(), fmt.Sprintf("max is larger than capacity value: %s", &all))
		}
		if first.Cmp(*r.Max) > 0 {
			e.Invalid(p.Child("default"), first.String(), fmt.Sprintf("default is more than max: %s", r.Max))
		}
	}
	bounds := []bound{{"default", &first}, {"min", r.Min}, {"max", r.Max}, {"step", r.Step}}
	milli := slices.ContainsFunc(bounds, func(b bound) bool { return b.q != nil && fractional(*b.q) })
	if !milli || every(e, p, bounds, thousandths) {
		steps(e, p, all, bounds, milli)
	}
}

// bound is one of the amounts of a range: default, min, max and step, in this order.
type bound struct {
	name string
	q    *quantity // nil: there is none
}

// every says whether fit finds nothing wrong with any of the bounds.
func every(e *check.Errors, p *field.Path, bounds []bound, fit func(*quantity) string) bool {
	good := true
	for _, b := range bounds {
		if b.q == nil {
			continue
		}
		if why := fit(b.q); why != "" {
			e.Invalid(p.Child(b.name), b.q.String(), why)
			good = false
		}
	}
	return good
}

func thousandths(q *quantity) string {
	if q.Cmp(*apiresource.NewMilliQuantity(q.MilliValue(), q.Format)) != 0 {
		return "value cannot be represented as a milli value"
	}
	return ""
}

// whole is what can be counted with: what lies beyond an int64 would wrap.
func whole(q *quantity) string {
	switch {
	case q.Sign() < 0:
		return "must be greater than or equal to 0"
	case q.CmpInt64(math.MaxInt64) > 0:
		return "must not be larger than 9223372036854775807"
	}
	return ""
}

// fractional says whether a quantity is not whole.
func fractional(q quantity) bool {
	c := q.DeepCopy()
	return !c.RoundUp(0)
}

// steps checks that default and max can be reached from min. Where something is not whole, all is counted in thousandths.
func steps(e *check.Errors, p *field.Path, all quantity, bounds []bound, milli bool) {
	first, least, most, step := bounds[0].q, bounds[1].q, bounds[2].q, bounds[3].q
	if step == nil {
		return
	}
	at := p.Child("step")
	if step.Sign() <= 0 {
		e.Invalid(at, step.String(), "must be greater than zero")
		return
	}
	next := least.DeepCopy()
	if next.Add(*step); next.Cmp(all) > 0 {
		e.Invalid(at, step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", &next, &all))
	}
	in := (*quantity).MilliValue
	if !milli {
		if in = (*quantity).Value; !every(e, p, bounds, whole) {
			return
		}
	}
	for _, v := range []*quantity{first, most} {
		if v != nil && (in(v)-in(least))%in(step) != 0 {
			e.Invalid(at, v.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", step, least))
		}
	}
}
