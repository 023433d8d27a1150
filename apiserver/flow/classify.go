package flow

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	flowcontrol "k8s.io/api/flowcontrol/v1"
)

// schema is a FlowSchema as classification needs it.
type schema struct {
	name, uid  string
	precedence int32
	level      *level
	by         flowcontrol.FlowDistinguisherMethodType
	hash       uint64 // of the name: tells the flows of schemas apart
	rules      []rule
	counts     counts
}

// rule is one of a schema's rules: some subjects, and what they ask for.
type rule struct {
	users, prefixes, groups []string // prefixes: of the names of users, for all service accounts of a namespace
	anyUser, anyGroup       bool
	resources               []flowcontrol.ResourcePolicyRule
	paths                   []flowcontrol.NonResourcePolicyRule
}

// compile prepares schemas, those that match first in front.
func compile(list []*flowcontrol.FlowSchema, seed maphash.Seed) []*schema {
	out := make([]*schema, len(list))
	for i, s := range list {
		c := &schema{name: s.Name, uid: string(s.UID), precedence: s.Spec.MatchingPrecedence, hash: maphash.String(seed, s.Name)}
		if m := s.Spec.DistinguisherMethod; m != nil {
			c.by = m.Type
		}
		for j := range s.Spec.Rules {
			c.rules = append(c.rules, compileRule(&s.Spec.Rules[j]))
		}
		out[i] = c
	}
	slices.SortFunc(out, func(a, b *schema) int {
		return cmp.Or(cmp.Compare(a.precedence, b.precedence), strings.Compare(a.name, b.name))
	})
	return out
}

func compileRule(r *flowcontrol.PolicyRulesWithSubjects) rule {
	c := rule{resources: r.ResourceRules, paths: r.NonResourceRules}
	for _, s := range r.Subjects {
		switch {
		case s.User != nil:
			c.users = append(c.users, s.User.Name)
			c.anyUser = c.anyUser || s.User.Name == flowcontrol.NameAll
		case s.Group != nil:
			c.groups = append(c.groups, s.Group.Name)
			c.anyGroup = c.anyGroup || s.Group.Name == flowcontrol.NameAll
		case s.ServiceAccount != nil:
			prefix := "system:serviceaccount:" + s.ServiceAccount.Namespace + ":"
			if s.ServiceAccount.Name == flowcontrol.NameAll {
				c.prefixes = append(c.prefixes, prefix)
			} else {
				c.users = append(c.users, prefix+s.ServiceAccount.Name)
			}
		}
	}
	return c
}

// matches says whether a request is one of the schema's.
func (s *schema) matches(r *Request) bool {
	for i := range s.rules {
		if c := &s.rules[i]; c.asks(r) && c.asked(r) {
			return true
		}
	}
	return false
}

// asks says whether who asks is one of the rule's subjects.
func (c *rule) asks(r *Request) bool {
	if c.anyUser || slices.Contains(c.users, r.User) || c.anyGroup && len(r.Groups) > 0 {
		return true
	}
	for _, p := range c.prefixes {
		if strings.HasPrefix(r.User, p) {
			return true
		}
	}
	for _, g := range c.groups {
		if slices.Contains(r.Groups, g) {
			return true
		}
	}
	return false
}

// asked says whether what is asked for is in the rule.
func (c *rule) asked(r *Request) bool {
	if !r.Resource {
		for i := range c.paths {
			if p := &c.paths[i]; has(p.Verbs, r.Verb) && hasPath(p.NonResourceURLs, r.Path) {
				return true
			}
		}
		return false
	}
	for i := range c.resources {
		p := &c.resources[i]
		if !has(p.Verbs, r.Verb) || !has(p.APIGroups, r.Group) || !hasResource(p.Resources, r) {
			continue
		}
		if r.Namespace == "" && p.ClusterScope || r.Namespace != "" && has(p.Namespaces, r.Namespace) {
			return true
		}
	}
	return false
}

// has says whether v is listed, or everything is.
func has(list []string, v string) bool {
	for _, l := range list {
		if l == v || l == "*" {
			return true
		}
	}
	return false
}

func hasResource(list []string, r *Request) bool {
	if r.Sub == "" {
		return has(list, r.Name)
	}
	for _, l := range list {
		if l == "*" || len(l) == len(r.Name)+1+len(r.Sub) && l[:len(r.Name)] == r.Name && l[len(r.Name)] == '/' && l[len(r.Name)+1:] == r.Sub {
			return true
		}
	}
	return false
}

func hasPath(list []string, path string) bool {
	if has(list, path) {
		return true
	}
	for _, l := range list {
		if strings.HasSuffix(l, "/*") && strings.HasPrefix(path, l[:len(l)-1]) {
			return true
		}
	}
	return false
}

// flow is the hash of the flow that a request of this schema belongs to.
func (s *schema) flow(r *Request, seed maphash.Seed) uint64 {
	var who string
	switch s.by {
	case flowcontrol.FlowDistinguisherMethodByUserType:
		who = r.User
	case flowcontrol.FlowDistinguisherMethodByNamespaceType:
		who = r.Namespace
	default:
		return s.hash
	}
	h := maphash.String(seed, who) ^ s.hash
	h ^= h >> 32
	return h * 0x9e3779b97f4a7c15 // spreads what the exclusive or has mixed
}
