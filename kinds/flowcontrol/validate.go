package flowcontrol

import (
	"fmt"
	"slices"
	"strings"

	flowcontrol "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// Verbs and methods, in the order in which errors name them.
var (
	verbs   = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}
	methods = []string{string(flowcontrol.FlowDistinguisherMethodByNamespaceType), string(flowcontrol.FlowDistinguisherMethodByUserType)}
)

func validateSchema(s *flowcontrol.FlowSchema) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		spec := field.NewPath("spec")
		checkSchemaSpec(e, s.Name, &s.Spec, spec)
		for _, m := range MandatorySchemas() {
			if m.Name == s.Name && !equality.Semantic.DeepEqual(s.Spec, m.Spec) {
				e.Invalid(spec, untagged{s.Spec}, fmt.Sprintf("spec of '%s' must equal the fixed value", s.Name))
			}
		}
		e.Add(validateSchemaStatus(s)...)
	})
}

func checkSchemaSpec(e *check.Errors, name string, s *flowcontrol.FlowSchemaSpec, p *field.Path) {
	precedence := p.Child("matchingPrecedence")
	switch {
	case s.MatchingPrecedence <= 0:
		e.Invalid(precedence, s.MatchingPrecedence, "must be a positive value")
	case s.MatchingPrecedence > flowcontrol.FlowSchemaMaxMatchingPrecedence:
		e.Invalid(precedence, s.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", flowcontrol.FlowSchemaMaxMatchingPrecedence))
	case s.MatchingPrecedence == 1 && name != Exempt:
		e.Invalid(precedence, s.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if m := s.DistinguisherMethod; m != nil && !slices.Contains(methods, string(m.Type)) {
		e.Add(field.NotSupported(p.Child("distinguisherMethod", "type"), untagged{m}, methods))
	}
	level := p.Child("priorityLevelConfiguration", "name")
	if s.PriorityLevelConfiguration.Name == "" {
		e.Required(level, "must reference a priority level")
	} else {
		e.Subdomain(level, s.PriorityLevelConfiguration.Name)
	}
	for i := range s.Rules {
		checkRule(e, &s.Rules[i], p.Child("rules").Index(i))
	}
}

func checkRule(e *check.Errors, r *flowcontrol.PolicyRulesWithSubjects, p *field.Path) {
	if len(r.Subjects) == 0 {
		e.Required(p.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range r.Subjects {
		checkSubject(e, &r.Subjects[i], p.Child("subjects").Index(i))
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		e.Required(p, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range r.ResourceRules {
		checkResourceRule(e, &r.ResourceRules[i], p.Child("resourceRules").Index(i))
	}
	for i := range r.NonResourceRules {
		checkPathRule(e, &r.NonResourceRules[i], p.Child("nonResourceRules").Index(i))
	}
}

func checkSubject(e *check.Errors, s *flowcontrol.Subject, p *field.Path) {
	stray := func(field string, present bool, kind flowcontrol.SubjectKind) {
		if present && s.Kind != kind {
			e.Forbidden(p.Child(field), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", field, kind))
		}
	}
	switch s.Kind {
	case flowcontrol.SubjectKindServiceAccount:
		checkAccount(e, s.ServiceAccount, p.Child("serviceAccount"))
	case flowcontrol.SubjectKindUser:
		if s.User == nil {
			e.Required(p.Child("user"), "user is required when subject kind is 'User'")
		} else if s.User.Name == "" {
			e.Required(p.Child("user", "name"), "")
		}
	case flowcontrol.SubjectKindGroup:
		if s.Group == nil {
			e.Required(p.Child("group"), "group is required when subject kind is 'Group'")
		} else if s.Group.Name == "" {
			e.Required(p.Child("group", "name"), "")
		}
	default:
		check.OneOf(e, p.Child("kind"), s.Kind, flowcontrol.SubjectKindGroup, flowcontrol.SubjectKindServiceAccount, flowcontrol.SubjectKindUser)
		return
	}
	stray("serviceAccount", s.ServiceAccount != nil, flowcontrol.SubjectKindServiceAccount)
	stray("user", s.User != nil, flowcontrol.SubjectKindUser)
	stray("group", s.Group != nil, flowcontrol.SubjectKindGroup)
}

func checkAccount(e *check.Errors, a *flowcontrol.ServiceAccountSubject, p *field.Path) {
	if a == nil {
		e.Required(p, "serviceAccount is required when subject kind is 'ServiceAccount'")
		return
	}
	if a.Name == "" {
		e.Required(p.Child("name"), "")
	} else if a.Name != flowcontrol.NameAll {
		e.Invalids(p.Child("name"), a.Name, validation.ValidateServiceAccountName(a.Name, false))
	}
	if a.Namespace == "" {
		e.Required(p.Child("namespace"), "must specify namespace for service account")
	} else {
		e.Invalids(p.Child("namespace"), a.Namespace, validation.ValidateNamespaceName(a.Namespace, false))
	}
}

// checkVerbs wants "*" alone, or verbs that the API has.
func checkVerbs(e *check.Errors, list []string, p *field.Path) {
	switch {
	case len(list) == 0:
		e.Required(p, "verbs must contain at least one value")
	case slices.Contains(list, "*"):
		alone(e, list, p, "verbs")
	case slices.ContainsFunc(list, func(v string) bool { return !slices.Contains(verbs, v) }):
		e.Add(field.NotSupported(p, list, verbs))
	}
}

// alone wants nothing beside "*".
func alone(e *check.Errors, list []string, p *field.Path, what string) {
	if len(list) > 1 && slices.Contains(list, "*") {
		e.Invalid(p, list, "if '*' is present, must not specify other "+what)
	}
}

func checkPathRule(e *check.Errors, r *flowcontrol.NonResourcePolicyRule, p *field.Path) {
	checkVerbs(e, r.Verbs, p.Child("verbs"))
	urls := p.Child("nonResourceURLs")
	switch {
	case len(r.NonResourceURLs) == 0:
		e.Required(urls, "nonResourceURLs must contain at least one value")
	case slices.Contains(r.NonResourceURLs, "*"):
		alone(e, r.NonResourceURLs, urls, "non-resource URLs")
	default:
		for i, u := range r.NonResourceURLs {
			if problem := badPath(u); problem != "" {
				e.Invalid(urls.Index(i), u, problem)
			}
		}
	}
}

// badPath says what is wrong with a path that may end in "/*".
func badPath(u string) string {
	stars := strings.Count(u, "*")
	switch {
	case u == "":
		return "must not be empty"
	case u == "/":
	case u[0] != '/':
		return "must start with slash"
	case strings.Contains(u, " "):
		return "must not contain white-space"
	case strings.Contains(u, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(u, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}

func checkResourceRule(e *check.Errors, r *flowcontrol.ResourcePolicyRule, p *field.Path) {
	checkVerbs(e, r.Verbs, p.Child("verbs"))
	if len(r.APIGroups) == 0 {
		e.Required(p.Child("apiGroups"), "resource rules must supply at least one api group")
	}
	alone(e, r.APIGroups, p.Child("apiGroups"), "api groups")
	if len(r.Resources) == 0 {
		e.Required(p.Child("resources"), "resource rules must supply at least one resource")
	}
	alone(e, r.Resources, p.Child("resources"), "resources")
	namespaces := p.Child("namespaces")
	switch {
	case len(r.Namespaces) == 0 && !r.ClusterScope:
		e.Required(namespaces, "resource rules that are not cluster scoped must supply at least one namespace")
	case slices.Contains(r.Namespaces, "*"):
		alone(e, r.Namespaces, namespaces, "namespaces")
	default:
		for i, n := range r.Namespaces {
			for _, problem := range validation.ValidateNamespaceName(n, false) {
				e.Invalid(namespaces.Index(i), n, "each member of this list must be '*' or a DNS-1123 label; "+problem)
			}
		}
	}
}

func validateSchemaStatus(s *flowcontrol.FlowSchema) field.ErrorList {
	types := make([]string, len(s.Status.Conditions))
	for i, c := range s.Status.Conditions {
		types[i] = string(c.Type)
	}
	return checkConditions(types)
}

// checkConditions wants types of conditions to be there, each once.
func checkConditions(types []string) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		for i, t := range types {
			p := field.NewPath("status", "conditions").Index(i).Child("type")
			if slices.Contains(types[:i], t) {
				e.Duplicate(p, t)
			}
			if t == "" {
				e.Required(p, "")
			}
		}
	})
}
