package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
)

func defaultMatch(m *registration.MatchResources) {
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		m.MatchPolicy = ptr.To(registration.Equivalent)
	}
	if m.NamespaceSelector == nil {
		m.NamespaceSelector = &metav1.LabelSelector{}
	}
	if m.ObjectSelector == nil {
		m.ObjectSelector = &metav1.LabelSelector{}
	}
	for _, rules := range [][]registration.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			defaultRule(&rules[i].Rule)
		}
	}
}

func defaultRule(r *registration.Rule) {
	if r.Scope == nil {
		r.Scope = ptr.To(registration.AllScopes)
	}
}

func failurePolicy(e *check.Errors, p *field.Path, f *registration.FailurePolicyType) {
	if f == nil {
		e.Required(p, "")
		return
	}
	check.OneOf(e, p, *f, registration.Fail, registration.Ignore)
}

// match checks what the policies and their bindings match. nil matches everything.
func match(e *check.Errors, p *field.Path, m *registration.MatchResources) {
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		e.Required(p.Child("matchPolicy"), "")
	} else {
		check.OneOf(e, p.Child("matchPolicy"), *m.MatchPolicy, registration.Equivalent, registration.Exact)
	}
	selector(e, p.Child("namespaceSelector"), m.NamespaceSelector)
	selector(e, p.Child("objectSelector"), m.ObjectSelector)
	for i := range m.ResourceRules {
		namedRule(e, p.Child("resourceRules").Index(i), &m.ResourceRules[i])
	}
	for i := range m.ExcludeResourceRules {
		namedRule(e, p.Child("excludeResourceRules").Index(i), &m.ExcludeResourceRules[i])
	}
}

func selector(e *check.Errors, p *field.Path, s *metav1.LabelSelector) {
	if s == nil {
		e.Required(p, "")
		return
	}
	e.Selector(p, s)
}

func namedRule(e *check.Errors, p *field.Path, r *registration.NamedRuleWithOperations) {
	for i, name := range r.ResourceNames {
		at := p.Child("resourceNames").Index(i)
		e.Invalids(at, name, path.IsValidPathSegmentName(name))
		if slices.Contains(r.ResourceNames[:i], name) {
			e.Duplicate(at, name)
		}
	}
	rule(e, p, &r.RuleWithOperations)
}

// rule checks operations and resources.
func rule(e *check.Errors, p *field.Path, r *registration.RuleWithOperations) {
	ops := p.Child("operations")
	if len(r.Operations) == 0 {
		e.Required(ops, "")
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, registration.OperationAll) {
		e.Invalid(ops, r.Operations, "if '*' is present, must not specify other operations")
	}
	for i, op := range r.Operations {
		check.OneOf(e, ops.Index(i), op, registration.OperationAll, registration.Connect, registration.Create, registration.Delete, registration.Update)
	}
	list(e, p.Child("apiGroups"), r.APIGroups, "API groups")
	list(e, p.Child("apiVersions"), r.APIVersions, "API versions")
	for i, v := range r.APIVersions {
		if v == "" {
			e.Required(p.Child("apiVersions").Index(i), "")
		}
	}
	resources(e, p.Child("resources"), r.Resources)
	if r.Scope != nil {
		check.OneOf(e, p.Child("scope"), *r.Scope, registration.AllScopes, registration.ClusterScope, registration.NamespacedScope)
	}
}

func list(e *check.Errors, p *field.Path, names []string, what string) {
	if len(names) == 0 {
		e.Required(p, "")
	}
	if len(names) > 1 && slices.Contains(names, "*") {
		e.Invalid(p, names, "if '*' is present, must not specify other "+what)
	}
}

// resources checks "pods", "pods/status", "*/scale", "pods/*", "*" and "*/*", which must not say the same thing twice.
func resources(e *check.Errors, p *field.Path, names []string) {
	if len(names) == 0 {
		e.Required(p, "")
	}
	var allSubs, allOf []string // of x/*, of */x
	var plain bool              // whether the last one without a subresource is not "*"
	for i, name := range names {
		if name == "" {
			e.Required(p.Index(i), "")
			continue
		}
		res, sub, has := strings.Cut(name, "/")
		if !has {
			plain = name != "*"
			continue
		}
		if slices.Contains(allSubs, res) {
			e.Invalid(p.Index(i), name, fmt.Sprintf("if '%s/*' is present, must not specify %s", res, name))
		}
		if slices.Contains(allOf, sub) {
			e.Invalid(p.Index(i), name, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, name))
		}
		if sub == "*" {
			allSubs = append(allSubs, res)
		}
		if res == "*" {
			allOf = append(allOf, sub)
		}
	}
	if len(names) > 1 && slices.Contains(names, "*/*") {
		e.Invalid(p, names, "if '*/*' is present, must not specify other resources")
	}
	if plain && slices.Contains(names, "*") {
		e.Invalid(p, names, "if '*' is present, must not specify other resources without subresources")
	}
}

// reserved is the end of names that policies in files have, in servers that read such.
const reserved = ".static.k8s.io"

func warnReserved(name string) []string {
	if !strings.HasSuffix(name, reserved) {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: names ending with %q are reserved for static manifest-based configurations and cannot be managed via the API", reserved)}
}
