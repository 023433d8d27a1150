package authz

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/object"
)

//go:embed policy.txt
var policy string

const (
	aggregateTo  = "rbac.authorization.k8s.io/aggregate-to-"
	defaultLabel = "kubernetes.io/bootstrapping"
)

// verbs are the short words of policy.txt.
var verbs = map[string][]string{
	"read":      {"get", "list", "watch"},
	"write":     {"create", "delete", "deletecollection", "patch", "update"},
	"all-verbs": {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
}

// Bootstrap makes the roles and bindings that every cluster begins with. The caller owns them. Aggregated roles have their rules.
func Bootstrap() []object.Object {
	objects, err := parsePolicy(policy)
	if err != nil {
		panic(err) // policy.txt is part of the program, and a test reads it
	}
	return objects
}

// parsePolicy reads the notation that policy.txt explains.
func parsePolicy(text string) ([]object.Object, error) {
	var objects []object.Object
	var rules *[]rbac.PolicyRule // of the role above
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		var o object.Object
		var err error
		switch {
		case line[0] == ' ' && rules != nil:
			var r rbac.PolicyRule
			if r, err = parseRule(words); err == nil {
				*rules = append(*rules, r)
			}
		case words[0] == "clusterrole" && len(words) > 1:
			r := &rbac.ClusterRole{ObjectMeta: defaultMeta(words[1])}
			o, rules, err = r, &r.Rules, parseAggregation(r, words[2:])
		case words[0] == "role" && len(words) == 2:
			r := &rbac.Role{ObjectMeta: defaultMeta(words[1])}
			o, rules = r, &r.Rules
		case words[0] == "binding" && len(words) > 2:
			rules = nil
			o, err = parseBinding(words[1], words[2], words[3:])
		default:
			err = fmt.Errorf("unknown words")
		}
		if err != nil {
			return nil, fmt.Errorf("policy.txt:%d: %w: %q", i+1, err, line)
		}
		if o != nil {
			objects = append(objects, o)
		}
	}
	var all []*rbac.ClusterRole
	for _, o := range objects {
		if r, ok := o.(*rbac.ClusterRole); ok {
			all = append(all, r)
		}
	}
	// admin takes from edit, which takes from view: as many rounds as there are levels.
	for range 3 {
		for _, r := range all {
			if r.AggregationRule != nil {
				r.Rules = aggregated(r, all)
			}
		}
	}
	return objects, nil
}

func defaultMeta(name string) metav1.ObjectMeta {
	key := object.ParseKey(name)
	return metav1.ObjectMeta{
		Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{defaultLabel: "rbac-defaults"},
		Annotations: map[string]string{rbac.AutoUpdateAnnotationKey: "true"},
	}
}

func parseAggregation(r *rbac.ClusterRole, words []string) error {
	for _, w := range words {
		kind, name, _ := strings.Cut(w, "=")
		label := map[string]string{aggregateTo + name: "true"}
		switch kind {
		case "to":
			maps.Copy(r.Labels, label)
		case "from":
			r.AggregationRule = &rbac.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: label}}}
		default:
			return fmt.Errorf("unknown word %q", w)
		}
	}
	return nil
}

// parseRule reads "<verbs> <groups>: <resources> [named <names>]" or "<verbs> url: <paths>".
func parseRule(words []string) (rbac.PolicyRule, error) {
	if len(words) < 3 || !strings.HasSuffix(words[1], ":") {
		return rbac.PolicyRule{}, fmt.Errorf("not a rule")
	}
	var r rbac.PolicyRule
	for _, v := range strings.Split(words[0], ",") {
		if short, ok := verbs[v]; ok {
			r.Verbs = append(r.Verbs, short...)
		} else {
			r.Verbs = append(r.Verbs, v)
		}
	}
	groups := strings.TrimSuffix(words[1], ":")
	if groups == "url" {
		r.NonResourceURLs = words[2:]
		return r, nil
	}
	for _, g := range strings.Split(groups, ",") {
		if g == "core" {
			g = ""
		}
		r.APIGroups = append(r.APIGroups, g)
	}
	r.Resources = words[2:]
	if i := slices.Index(r.Resources, "named"); i >= 0 {
		r.Resources, r.ResourceNames = r.Resources[:i], r.Resources[i+1:]
	}
	return r, nil
}

func parseBinding(name, role string, words []string) (object.Object, error) {
	kind, roleName, ok := strings.Cut(role, ":")
	if !ok {
		return nil, fmt.Errorf("not a role: %q", role)
	}
	ref := rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: roleName}
	if kind == "role" {
		ref.Kind = "Role"
	}
	var subjects []rbac.Subject
	for _, w := range words {
		kind, who, _ := strings.Cut(w, ":")
		switch kind {
		case "user":
			subjects = append(subjects, rbac.Subject{APIGroup: rbac.GroupName, Kind: rbac.UserKind, Name: who})
		case "group":
			subjects = append(subjects, rbac.Subject{APIGroup: rbac.GroupName, Kind: rbac.GroupKind, Name: who})
		case "account":
			key := object.ParseKey(who)
			subjects = append(subjects, rbac.Subject{Kind: rbac.ServiceAccountKind, Namespace: key.Namespace, Name: key.Name})
		default:
			return nil, fmt.Errorf("not a subject: %q", w)
		}
	}
	m := defaultMeta(name)
	if m.Namespace == "" {
		return &rbac.ClusterRoleBinding{ObjectMeta: m, RoleRef: ref, Subjects: subjects}, nil
	}
	return &rbac.RoleBinding{ObjectMeta: m, RoleRef: ref, Subjects: subjects}, nil
}

// aggregated is the union of the rules of the roles that r selects, in their order.
func aggregated(r *rbac.ClusterRole, all []*rbac.ClusterRole) []rbac.PolicyRule {
	var rules []rbac.PolicyRule
	seen := map[string]bool{}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		sel, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			continue // validation keeps such selectors out
		}
		for _, other := range all {
			if other.Name == r.Name || !sel.Matches(labels.Set(other.Labels)) {
				continue
			}
			for j := range other.Rules {
				if text := describeRule(&other.Rules[j]); !seen[text] {
					seen[text] = true
					rules = append(rules, other.Rules[j])
				}
			}
		}
	}
	return rules
}
