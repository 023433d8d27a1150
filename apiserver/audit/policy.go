package audit

import (
	"slices"
	"strings"

	"proa.dev/apiserver/authn"
)

// Policy is audit.k8s.io/v1 Policy: what is written down. The first rule that matches a request counts; none: nothing.
type Policy struct {
	APIVersion        string  `yaml:"apiVersion"`
	Kind              string  `yaml:"kind"`
	Metadata          any     `yaml:"metadata"` // a policy is a file, and its metadata means nothing
	Rules             []Rule  `yaml:"rules"`
	OmitStages        []Stage `yaml:"omitStages"`
	OmitManagedFields bool    `yaml:"omitManagedFields"`
}

// Rule says how much is written down of the requests that it matches. What is empty matches everything.
type Rule struct {
	Level             Level       `yaml:"level"`
	Users             []string    `yaml:"users"`
	UserGroups        []string    `yaml:"userGroups"`
	Verbs             []string    `yaml:"verbs"`
	Resources         []Resources `yaml:"resources"`
	Namespaces        []string    `yaml:"namespaces"` // "" is that of cluster-scoped objects
	NonResourceURLs   []string    `yaml:"nonResourceURLs"`
	OmitStages        []Stage     `yaml:"omitStages"`
	OmitManagedFields *bool       `yaml:"omitManagedFields"`
}

// Resources names resources of a group: "pods", "pods/log", "pods/*", "*/scale", "*".
type Resources struct {
	Group         string   `yaml:"group"`
	Resources     []string `yaml:"resources"`
	ResourceNames []string `yaml:"resourceNames"`
}

// Everything is the policy that writes down that every request happened, once it has ended.
func Everything() *Policy {
	return &Policy{Rules: []Rule{{Level: Metadata}}, OmitStages: []Stage{RequestReceived, ResponseStarted}}
}

// Attributes are what a policy looks at.
type Attributes struct {
	User     authn.User
	Known    bool // User is known; else authentication has failed
	Verb     string
	Resource bool // it is about a resource; else Path counts
	Path     string
	Object   Object
}

// decision is what a policy says of one request.
type decision struct {
	level Level
	omit  [2][]Stage
	bare  bool // without managed fields
}

func (d *decision) omits(s Stage) bool {
	return slices.Contains(d.omit[0], s) || slices.Contains(d.omit[1], s)
}

// decide finds the rule for a request.
func (p *Policy) decide(a *Attributes) decision {
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.matches(a) {
			continue
		}
		d := decision{level: r.Level, omit: [2][]Stage{p.OmitStages, r.OmitStages}, bare: p.OmitManagedFields}
		if r.OmitManagedFields != nil {
			d.bare = *r.OmitManagedFields
		}
		return d
	}
	return decision{level: None}
}

func (r *Rule) matches(a *Attributes) bool {
	if a.Known && len(r.Users) > 0 && !slices.Contains(r.Users, a.User.Name) {
		return false
	}
	if a.Known && len(r.UserGroups) > 0 && !slices.ContainsFunc(a.User.Groups, func(g string) bool { return slices.Contains(r.UserGroups, g) }) {
		return false
	}
	if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, a.Verb) {
		return false
	}
	if len(r.Namespaces) > 0 || len(r.Resources) > 0 {
		return a.Resource && r.about(&a.Object)
	}
	if len(r.NonResourceURLs) > 0 {
		return !a.Resource && slices.ContainsFunc(r.NonResourceURLs, func(u string) bool {
			return u == "*" || u == a.Path || strings.HasSuffix(u, "*") && strings.HasPrefix(a.Path, strings.TrimRight(u, "*"))
		})
	}
	return true
}

// about says whether a rule with namespaces or resources means this one.
func (r *Rule) about(o *Object) bool {
	if len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, o.Namespace) {
		return false
	}
	if len(r.Resources) == 0 {
		return true
	}
	full := o.Resource
	if o.Subresource != "" {
		full += "/" + o.Subresource
	}
	for _, g := range r.Resources {
		if g.Group != "*" && g.Group != o.APIGroup {
			continue
		}
		if len(g.Resources) == 0 {
			return true
		}
		if len(g.ResourceNames) > 0 && !slices.Contains(g.ResourceNames, o.Name) {
			continue
		}
		for _, name := range g.Resources {
			sub, any := strings.CutPrefix(name, "*/")
			resource, all := strings.CutSuffix(name, "/*")
			if name == "*" || name == full || any && o.Subresource != "" && sub == o.Subresource || all && resource == o.Resource {
				return true
			}
		}
	}
	return false
}
