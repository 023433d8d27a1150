package limits

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
	"proa.dev/kinds/core/resources"
)

// ResourceQuota is v1 ResourceQuota: what the objects of a namespace may use together.
var ResourceQuota = kinds.Def[core.ResourceQuota, *core.ResourceQuota]{
	Path:   "v1/resourcequotas",
	Short:  []string{"quota"},
	Status: true,
	Default: func(q *core.ResourceQuota) {
		resources.RoundUp(q.Spec.Hard)
		resources.RoundUp(q.Status.Hard)
		resources.RoundUp(q.Status.Used)
	},
	Validate: func(q *core.ResourceQuota) field.ErrorList {
		return check.Run(func(e *check.Errors) { quotaSpec(e, field.NewPath("spec"), &q.Spec) })
	},
	ValidateUpdate: func(q, old *core.ResourceQuota) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			if !sameScopes(q.Spec.Scopes, old.Spec.Scopes) {
				e.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, "field is immutable")
			}
		})
	},
	ValidateStatus: func(q, _ *core.ResourceQuota) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			p := field.NewPath("status")
			amounts(e, p.Child("hard"), q.Status.Hard)
			amounts(e, p.Child("used"), q.Status.Used)
		})
	},
	Warn: warnQuota,
	Columns: []kinds.Column{
		kinds.NameColumn,
		{Name: "Request", Type: "string", Description: "Request represents a minimum amount of cpu/memory that a container may consume."},
		{Name: "Limit", Type: "string", Description: "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."},
		kinds.AgeColumn,
	},
	Row: quotaRow,
}

// warnQuota tells of requests that may be more than limits, once: when the quota is made.
func warnQuota(q, old *core.ResourceQuota) (out []string) {
	if old != nil {
		return nil
	}
	for _, n := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory, core.ResourceStorage, core.ResourceEphemeralStorage} {
		name := core.DefaultResourceRequestsPrefix + n
		request, ok := q.Spec.Hard[name]
		if !ok && (n == core.ResourceCPU || n == core.ResourceMemory) {
			name = n
			request, ok = q.Spec.Hard[name]
		}
		limit, limited := q.Spec.Hard["limits."+n]
		if ok && limited && request.Cmp(limit) > 0 {
			out = append(out, fmt.Sprintf("ResourceQuota %s (%s) should be less than limits.%s (%s)", name, request.String(), n, limit.String()))
		}
	}
	return out
}

func quotaRow(q *core.ResourceQuota, now time.Time) []any {
	var requests, limits []string
	for _, n := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		used, hard := q.Status.Used[n], q.Status.Hard[n]
		text := fmt.Sprintf("%s: %s/%s", n, used.String(), hard.String())
		if strings.HasPrefix(string(n), "limits.") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), kinds.Age(q.CreationTimestamp, now)}
}

func amounts(e *check.Errors, p *field.Path, l core.ResourceList) {
	for _, n := range slices.Sorted(maps.Keys(l)) {
		at := p.Key(string(n))
		resources.OfQuota(e, at, n)
		resources.Value(e, at, n, l[n])
	}
}

func quotaSpec(e *check.Errors, p *field.Path, s *core.ResourceQuotaSpec) {
	amounts(e, p.Child("hard"), s.Hard)
	if len(s.Scopes) > 0 {
		scopes(e, p.Child("scopes"), s)
	}
	if s.ScopeSelector != nil {
		scopeSelector(e, p.Child("scopeSelector", "matchExpressions"), s)
	}
}

func scopes(e *check.Errors, p *field.Path, s *core.ResourceQuotaSpec) {
	for _, scope := range s.Scopes {
		if !knownScope(scope) {
			e.Invalid(p, s.Scopes, "unsupported scope")
		}
		for range outOfScope(scope, s.Hard) {
			e.Invalid(p, s.Scopes, "unsupported scope applied to resource")
		}
	}
	conflicting(e, p, s.Scopes, s)
}

func scopeSelector(e *check.Errors, p *field.Path, s *core.ResourceQuotaSpec) {
	var all []core.ResourceQuotaScope
	for _, r := range s.ScopeSelector.MatchExpressions {
		all = append(all, r.ScopeName)
		if !knownScope(r.ScopeName) {
			e.Invalid(p.Child("scopeName"), r.ScopeName, "unsupported scope")
		}
		for range outOfScope(r.ScopeName, s.Hard) {
			e.Invalid(p, s.ScopeSelector, "unsupported scope applied to resource")
		}
		if r.Operator != core.ScopeSelectorOpExists && onlyExists(r.ScopeName) {
			e.Invalid(p.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
		}
		switch r.Operator {
		case core.ScopeSelectorOpIn, core.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				e.Required(p.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
			}
		case core.ScopeSelectorOpExists, core.ScopeSelectorOpDoesNotExist:
			if len(r.Values) != 0 {
				e.Invalid(p.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
			}
		default:
			e.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
		}
	}
	conflicting(e, p, all, s)
}

// conflicting finds scopes that no pod can be in at once. The error shows spec.scopes, wherever the scopes stand.
func conflicting(e *check.Errors, p *field.Path, all []core.ResourceQuotaScope, s *core.ResourceQuotaSpec) {
	for _, pair := range [][2]core.ResourceQuotaScope{
		{core.ResourceQuotaScopeBestEffort, core.ResourceQuotaScopeNotBestEffort},
		{core.ResourceQuotaScopeTerminating, core.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(all, pair[0]) && slices.Contains(all, pair[1]) {
			e.Invalid(p, s.Scopes, "conflicting scopes")
		}
	}
}

func knownScope(s core.ResourceQuotaScope) bool {
	return onlyExists(s) || s == core.ResourceQuotaScopePriorityClass || s == core.ResourceQuotaScopeVolumeAttributesClass
}

// onlyExists says that a scope has no values: something is in it or not.
func onlyExists(s core.ResourceQuotaScope) bool {
	switch s {
	case core.ResourceQuotaScopeTerminating, core.ResourceQuotaScopeNotTerminating, core.ResourceQuotaScopeBestEffort,
		core.ResourceQuotaScopeNotBestEffort, core.ResourceQuotaScopeCrossNamespacePodAffinity:
		return true
	}
	return false
}

// outOfScope is the standard resources among hard that a scope cannot narrow.
func outOfScope(s core.ResourceQuotaScope, hard core.ResourceList) (out []core.ResourceName) {
	for n := range hard {
		if resources.StandardOfQuota(n) && !narrows(s, n) {
			out = append(out, n)
		}
	}
	return out
}

// narrows says whether what a quota counts as n can be narrowed to a scope.
func narrows(s core.ResourceQuotaScope, n core.ResourceName) bool {
	switch {
	case s == core.ResourceQuotaScopeVolumeAttributesClass:
		return n == core.ResourcePersistentVolumeClaims || n == core.ResourceRequestsStorage
	case !knownScope(s), n == core.ResourcePods:
		return true
	case s == core.ResourceQuotaScopeBestEffort:
		return false
	}
	switch n {
	case core.ResourceCPU, core.ResourceMemory, core.ResourceLimitsCPU, core.ResourceLimitsMemory, core.ResourceRequestsCPU, core.ResourceRequestsMemory:
		return true
	}
	return false
}

func sameScopes(a, b []core.ResourceQuotaScope) bool {
	in := func(list []core.ResourceQuotaScope) func(core.ResourceQuotaScope) bool {
		return func(s core.ResourceQuotaScope) bool { return !slices.Contains(list, s) }
	}
	return !slices.ContainsFunc(a, in(b)) && !slices.ContainsFunc(b, in(a))
}
