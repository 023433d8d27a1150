package authz

import (
	_ "embed"
	"errors"
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
	"read":   {"get", "list", "watch"},
	"follow": {"list", "watch"},
	"amend":  {"patch", "update"},
	"write":  {"create", "delete", "deletecollection", "patch", "update"},
	"all":    {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
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
	var p policyParser
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		var err error
		if line[0] == ' ' {
			err = p.rule(words)
		} else {
			err = p.object(words)
		}
		if err != nil {
			return nil, fmt.Errorf("policy.txt:%d: %w: %q", i+1, err, line)
		}
	}
	var all []*rbac.ClusterRole
	for _, o := range p.objects {
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
	return append(p.objects, p.bindings...), nil
}

// policyParser is what has been read so far.
type policyParser struct {
	objects, bindings []object.Object
	rules             *[]rbac.PolicyRule // of the role above; nil: there is none
}

// object reads a line that begins a role or is a binding.
func (p *policyParser) object(words []string) error {
	if len(words) < 2 {
		return errors.New("it names nothing")
	}
	kind, name, rest := words[0], words[1], words[2:]
	p.rules = nil
	var subjects []string
	given := false
	if i := slices.Index(rest, "for"); i >= 0 {
		rest, subjects, given = rest[:i], rest[i+1:], true
	}
	switch kind {
	case "clusterrole", "controller":
		if kind == "controller" {
			subjects, given = []string{"account:kube-system/" + name}, true
			name = "system:controller:" + name
		}
		r := &rbac.ClusterRole{ObjectMeta: defaultMeta(name)}
		p.objects, p.rules = append(p.objects, r), &r.Rules
		if err := parseAggregation(r, rest); err != nil {
			return err
		}
		kind = "clusterrole"
	case "role":
		r := &rbac.Role{ObjectMeta: defaultMeta(name)}
		p.objects, p.rules = append(p.objects, r), &r.Rules
	case "binding":
		if len(rest) != 1 {
			return errors.New("not one role")
		}
		return p.bind(name, rest[0], subjects)
	default:
		return errors.New("unknown words")
	}
	if !given {
		return nil
	}
	return p.bind(name, kind+":"+object.ParseKey(name).Name, subjects)
}

// rule reads a line that belongs to the role above.
func (p *policyParser) rule(words []string) error {
	if p.rules == nil {
		return errors.New("a rule without a role")
	}
	if len(words) == 1 && words[0] == "events" {
		words = []string{"create,amend", "core,events.k8s.io:", "events"}
	}
	r, err := parseRule(words)
	*p.rules = append(*p.rules, r)
	return err
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
		return rbac.PolicyRule{}, errors.New("not a rule")
	}
	var r rbac.PolicyRule
	for _, v := range strings.Split(words[0], ",") {
		if short, ok := verbs[v]; ok {
			r.Verbs = append(r.Verbs, short...)
		} else {
			r.Verbs = append(r.Verbs, v)
		}
	}
	slices.Sort(r.Verbs)
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

// bind adds the binding of a role, "clusterrole:<name>" or "role:<name>", to subjects.
func (p *policyParser) bind(name, role string, words []string) error {
	kind, roleName, _ := strings.Cut(role, ":")
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
		case "nobody":
		default:
			return fmt.Errorf("not a subject: %q", w)
		}
	}
	m := defaultMeta(name)
	if m.Namespace == "" {
		p.bindings = append(p.bindings, &rbac.ClusterRoleBinding{ObjectMeta: m, RoleRef: ref, Subjects: subjects})
	} else {
		p.bindings = append(p.bindings, &rbac.RoleBinding{ObjectMeta: m, RoleRef: ref, Subjects: subjects})
	}
	return nil
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
