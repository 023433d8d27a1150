package limits

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/uuid"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
	"proa.dev/kinds/core/resources"
)

// LimitRange is v1 LimitRange: what one container, pod or claim of a namespace may use, and what it gets if it does not say.
var LimitRange = kinds.Def[core.LimitRange, *core.LimitRange]{
	Path:  "v1/limitranges",
	Short: []string{"limits"},
	Default: func(l *core.LimitRange) {
		for i := range l.Spec.Limits {
			defaultLimit(&l.Spec.Limits[i])
		}
	},
	Prepare: func(l, old *core.LimitRange) {
		if old == nil && l.Name == "" {
			l.Name = string(uuid.NewUUID())
		}
	},
	Validate: func(l *core.LimitRange) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			seen := map[core.LimitType]bool{}
			for i := range l.Spec.Limits {
				limit, p := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
				limitType(e, p.Child("type"), limit.Type)
				if seen[limit.Type] {
					e.Duplicate(p.Child("type"), limit.Type)
				}
				seen[limit.Type] = true
				limitItem(e, p, limit)
			}
		})
	},
	Columns: []kinds.Column{
		kinds.NameColumn,
		{Name: "Created At", Type: "date", Description: kinds.AgeColumn.Description},
	},
	Row: func(l *core.LimitRange, _ time.Time) []any {
		return []any{l.Name, l.CreationTimestamp.UTC().Format(time.RFC3339)}
	},
}

// defaultLimit fills the defaults of containers: a limit from the maximum, a request from the limit, or else from the minimum.
func defaultLimit(l *core.LimitRangeItem) {
	if l.Type == core.LimitTypeContainer {
		if l.Default == nil {
			l.Default = core.ResourceList{}
		}
		if l.DefaultRequest == nil {
			l.DefaultRequest = core.ResourceList{}
		}
		fill(l.Default, l.Max)
		fill(l.DefaultRequest, l.Default)
		fill(l.DefaultRequest, l.Min)
	}
	for _, list := range []core.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
		resources.RoundUp(list)
	}
}

// fill adds what to lacks.
func fill(to, from core.ResourceList) {
	for n, q := range from {
		if _, ok := to[n]; !ok {
			to[n] = q.DeepCopy()
		}
	}
}

func limitType(e *check.Errors, p *field.Path, t core.LimitType) {
	msgs := utilvalidation.IsQualifiedName(string(t))
	e.Invalids(p, t, msgs)
	if len(msgs) > 0 || strings.Contains(string(t), "/") {
		return
	}
	switch t {
	case core.LimitTypePod, core.LimitTypeContainer, core.LimitTypePersistentVolumeClaim:
	default:
		e.Invalid(p, t, "must be a standard limit type or fully qualified")
	}
}

func limitItem(e *check.Errors, p *field.Path, l *core.LimitRangeItem) {
	all := map[core.ResourceName]bool{}
	names := func(p *field.Path, list core.ResourceList) {
		for _, n := range slices.Sorted(maps.Keys(list)) {
			all[n] = true
			if l.Type == core.LimitTypePod || l.Type == core.LimitTypeContainer {
				resources.OfContainer(e, p.Key(string(n)), n)
			} else {
				resources.Name(e, p.Key(string(n)), n)
			}
		}
	}
	names(p.Child("max"), l.Max)
	names(p.Child("min"), l.Min)
	given := *l
	if l.Type == core.LimitTypePod {
		if len(l.Default) > 0 {
			e.Forbidden(p.Child("default"), "may not be specified when `type` is 'Pod'")
		}
		if len(l.DefaultRequest) > 0 {
			e.Forbidden(p.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
		}
		given.Default, given.DefaultRequest = nil, nil
	} else {
		names(p.Child("default"), l.Default)
		names(p.Child("defaultRequest"), l.DefaultRequest)
	}
	if l.Type == core.LimitTypePersistentVolumeClaim {
		_, least := l.Min[core.ResourceStorage]
		if _, most := l.Max[core.ResourceStorage]; !least && !most {
			e.Required(p.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	names(p.Child("maxLimitRequestRatio"), l.MaxLimitRequestRatio)
	for _, n := range slices.Sorted(maps.Keys(all)) {
		limitOrder(e, p, &given, n)
	}
}

// bound is one amount that may be missing.
type bound struct {
	resource.Quantity
	set bool
}

func boundOf(l core.ResourceList, n core.ResourceName) bound {
	q, ok := l[n]
	return bound{q, ok}
}

// above says whether both are set and a is more than b.
func (a bound) above(b bound) bool { return a.set && b.set && a.Cmp(b.Quantity) > 0 }

// limitOrder wants min <= default request <= default <= max.
func limitOrder(e *check.Errors, p *field.Path, l *core.LimitRangeItem, n core.ResourceName) {
	least, most := boundOf(l.Min, n), boundOf(l.Max, n)
	limit, request, ratio := boundOf(l.Default, n), boundOf(l.DefaultRequest, n), boundOf(l.MaxLimitRequestRatio, n)
	at := func(name string) *field.Path { return p.Child(name).Key(string(n)) }
	for _, rule := range []struct {
		low, high       bound
		field           string
		shown           bound
		lowName, suffix string
	}{
		{least, most, "min", least, "min", "max"},
		{least, request, "defaultRequest", request, "min", "default request"},
		{request, most, "defaultRequest", request, "default request", "max"},
		{request, limit, "defaultRequest", request, "default request", "default limit"},
		{least, limit, "default", least, "min", "default"},
		{limit, most, "default", most, "default", "max"},
	} {
		if rule.low.above(rule.high) {
			e.Invalid(at(rule.field), rule.shown.Quantity, fmt.Sprintf("%s value %s is greater than %s value %s",
				rule.lowName, rule.low.String(), rule.suffix, rule.high.String()))
		}
	}
	if ratio.set && ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		e.Invalid(at("maxLimitRequestRatio"), ratio.Quantity, fmt.Sprintf("ratio %s is less than 1", ratio.String()))
	}
	if ratio.set && least.set && most.set {
		if r, m := ratios(ratio.Quantity, least.Quantity, most.Quantity); r > m {
			e.Invalid(at("maxLimitRequestRatio"), ratio.Quantity, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), m))
		}
	}
	if !resources.Overcommit(n) && limit.set && request.set && limit.Cmp(request.Quantity) != 0 {
		e.Invalid(at("defaultRequest"), request.Quantity, fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s",
			limit.String(), request.String(), n))
	}
}

// ratios is a ratio as a number, and the largest that is possible between least and most.
func ratios(ratio, least, most resource.Quantity) (given, possible float64) {
	given = float64(ratio.Value())
	low, high := least.Value(), most.Value()
	if ratio.Value() < resource.MaxMilliValue && low < resource.MaxMilliValue && high < resource.MaxMilliValue {
		given, low, high = float64(ratio.MilliValue())/1000, least.MilliValue(), most.MilliValue()
	}
	return given, float64(high) / float64(low)
}
