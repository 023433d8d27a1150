package rules

import (
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/admission"
)

// Match is how a rule sees a request that it matches.
type Match struct {
	Resource schema.GroupVersionResource
	Kind     schema.GroupVersionKind // of the body, in Resource's version
}

// Find is how the first of the rules that matches sees the request; false if none does. policy nil is Exact, as nothing but the
// defaults of the kinds turns it into Equivalent.
func Find(r *admission.Request, rules []registration.RuleWithOperations, policy *registration.MatchPolicyType) (Match, bool) {
	return find(r, len(rules), policy, func(i int, res schema.GroupVersionResource) bool { return matches(r, &rules[i], res) })
}

// FindNamed is Find for the rules of policies, which may also ask for names.
func FindNamed(r *admission.Request, rules []registration.NamedRuleWithOperations, policy *registration.MatchPolicyType) (Match, bool) {
	return find(r, len(rules), policy, func(i int, res schema.GroupVersionResource) bool {
		names := rules[i].ResourceNames
		return (len(names) == 0 || slices.Contains(names, r.Name())) && matches(r, &rules[i].RuleWithOperations, res)
	})
}

func find(r *admission.Request, n int, policy *registration.MatchPolicyType, one func(i int, res schema.GroupVersionResource) bool) (Match, bool) {
	asked := r.Served.GroupVersionResource
	for i := range n {
		if one(i, asked) {
			return Match{asked, r.Body}, true
		}
	}
	if policy == nil || *policy != registration.Equivalent || len(r.Kind.Also) == 0 && r.Kind.Custom == nil {
		return Match{}, false
	}
	versions := r.Versions()
	for i := range n { // an earlier rule wins
		for _, v := range versions {
			if v != asked && one(i, v) {
				return Match{v, r.BodyIn(v)}, true
			}
		}
	}
	return Match{}, false
}

func matches(r *admission.Request, rule *registration.RuleWithOperations, res schema.GroupVersionResource) bool {
	return scope(r, rule.Scope) && operation(r, rule.Operations) && oneOf(rule.APIGroups, res.Group) && oneOf(rule.APIVersions, res.Version) &&
		slices.ContainsFunc(rule.Resources, func(want string) bool {
			name, sub, _ := strings.Cut(want, "/")
			return (name == "*" || name == res.Resource) && (sub == "*" || sub == r.Sub)
		})
}

func scope(r *admission.Request, want *registration.ScopeType) bool {
	if want == nil || *want == registration.AllScopes {
		return true
	}
	cluster := r.OfNamespaces() || r.Key.Namespace == metav1.NamespaceNone
	switch *want {
	case registration.ClusterScope:
		return cluster
	case registration.NamespacedScope:
		return !cluster
	}
	return false
}

func operation(r *admission.Request, want []registration.OperationType) bool {
	return slices.ContainsFunc(want, func(op registration.OperationType) bool {
		return op == registration.OperationAll || op == registration.OperationType(r.Op)
	})
}

func oneOf(want []string, is string) bool {
	return slices.ContainsFunc(want, func(w string) bool { return w == "*" || w == is })
}

// Exempt says whether the request is about the configuration of admission itself, which no webhook or policy sees: a bad one must not keep
// anybody from removing it.
func Exempt(r *admission.Request) bool {
	if r.Kind.Group != registration.GroupName {
		return false
	}
	switch r.Kind.Resource.Kind {
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
		"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding":
		return true
	}
	return false
}
