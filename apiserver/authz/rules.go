package authz

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"proa.dev/apiserver/authn"
)

// allows says whether one rule permits the request.
func allows(rule *rbac.PolicyRule, a *Attributes) bool {
	if !has(rule.Verbs, a.Verb, "*") {
		return false
	}
	if !a.ResourceRequest {
		return slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool {
			prefix, wild := strings.CutSuffix(url, "*")
			return url == a.Path || wild && strings.HasPrefix(a.Path, prefix)
		})
	}
	return has(rule.APIGroups, a.Group, "*") && resourceAllowed(rule.Resources, a) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.Name))
}

// resourceAllowed knows "pods", "pods/log", "*" (everything) and "*/scale" (that subresource of everything).
func resourceAllowed(resources []string, a *Attributes) bool {
	for _, r := range resources {
		switch {
		case r == "*":
			return true
		case a.Sub == "":
			if r == a.Resource {
				return true
			}
		default:
			if res, sub, ok := strings.Cut(r, "/"); ok && sub == a.Sub && (res == a.Resource || res == "*") {
				return true
			}
		}
	}
	return false
}

func has(set []string, one, other string) bool {
	return slices.Contains(set, one) || slices.Contains(set, other)
}

// Covers says whether owner may do all that rules permit, and returns what is missing, each with one verb and one resource.
func Covers(owner, rules []rbac.PolicyRule) (bool, []rbac.PolicyRule) {
	return validation.Covers(owner, rules)
}

// Escalation is an error that names what rules permit beyond what user may do in namespace ("" for cluster-wide); nil if there is
// nothing. Who writes a role or a binding must pass it, unless they may "escalate" or "bind" the role.
func (z *RBAC) Escalation(user authn.User, namespace string, rules []rbac.PolicyRule) error {
	if slices.Contains(user.Groups, authn.Masters) {
		return nil
	}
	owned, problem := z.RulesFor(user, namespace)
	ok, missing := Covers(owned, rules)
	if ok {
		return nil
	}
	missing = compact(missing)
	lines := make([]string, len(missing))
	for i := range missing {
		lines[i] = describeRule(&missing[i])
	}
	slices.Sort(lines)
	msg := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		user.Name, user.Groups, strings.Join(slices.Compact(lines), "\n"))
	if problem != nil {
		msg += fmt.Sprintf("; resolution errors: [%v]", problem)
	}
	return errors.New(msg)
}

// compact joins rules that differ in their verbs only, where each is about one resource, or one object, of one group.
func compact(rules []rbac.PolicyRule) (out []rbac.PolicyRule) {
	at := map[string]int{}
	for _, r := range rules {
		if len(r.APIGroups) != 1 || len(r.Resources) != 1 || len(r.ResourceNames) > 1 || len(r.NonResourceURLs) > 0 {
			out = append(out, r)
			continue
		}
		key := fmt.Sprintf("%q %q %q", r.APIGroups, r.Resources, r.ResourceNames)
		if i, ok := at[key]; ok {
			for _, v := range r.Verbs {
				if !slices.Contains(out[i].Verbs, v) {
					out[i].Verbs = append(slices.Clip(out[i].Verbs), v)
				}
			}
			continue
		}
		at[key] = len(out)
		out = append(out, r)
	}
	return out
}

func describeRule(r *rbac.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name string
		list []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(p.list) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.list))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
