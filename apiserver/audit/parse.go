package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"
)

// ReadPolicy reads a policy's file strictly. Its errors name file and line.
func ReadPolicy(path string) (*Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the audit policy: %w", err)
	}
	return ParsePolicy(path, data)
}

// ParsePolicy is ReadPolicy of the bytes of a file; name stands in its errors.
func ParsePolicy(name string, data []byte) (*Policy, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	p := new(Policy)
	if err := dec.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		return nil, located(name, err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", name)
	}
	if p.APIVersion != "audit.k8s.io/v1" || p.Kind != "Policy" {
		return nil, fmt.Errorf("%s: it is apiVersion %q, kind %q; want audit.k8s.io/v1, Policy", name, p.APIVersion, p.Kind)
	}
	if len(p.Rules) == 0 {
		return nil, fmt.Errorf("%s: loaded illegal policy with 0 rules", name)
	}
	lines := linesOf(data)
	var errs []error
	bad := func(line int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: "+format, append([]any{name, line}, args...)...))
	}
	checkStages(p.OmitStages, "omitStages", func(format string, args ...any) { bad(lines.omit, format, args...) })
	for i := range p.Rules {
		at := fmt.Sprintf("rules[%d].", i)
		p.Rules[i].check(func(key, format string, args ...any) { bad(lines.rule(i), at+key+": "+format, args...) })
	}
	return p, errors.Join(errs...)
}

// located gives the YAML library's errors ("line 3: ...", or several of them) the form file:line.
func located(name string, err error) error {
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		types = &yaml.TypeError{Errors: []string{strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	var errs []error
	for _, e := range types.Errors {
		if rest, ok := strings.CutPrefix(e, "line "); ok {
			line, what, _ := strings.Cut(rest, ": ")
			if field, of, ok := strings.Cut(what, " not found in type audit."); ok {
				what = fmt.Sprintf("unknown key %q of a %s", strings.TrimPrefix(field, "field "), strings.ToLower(of))
			}
			errs = append(errs, fmt.Errorf("%s:%s: %s", name, line, what))
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %s", name, e))
	}
	return errors.Join(errs...)
}

// lines are where parts of a policy stand.
type lines struct {
	omit  int
	rules []int
}

func (l lines) rule(i int) int {
	if i < len(l.rules) {
		return l.rules[i]
	}
	return 1
}

func linesOf(data []byte) (l lines) {
	l.omit = 1
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return l // it was read before, so that this does not happen
	}
	for pairs := doc.Content[0].Content; len(pairs) > 1; pairs = pairs[2:] {
		switch pairs[0].Value {
		case "omitStages":
			l.omit = pairs[0].Line
		case "rules":
			for _, r := range pairs[1].Content {
				l.rules = append(l.rules, r.Line)
			}
		}
	}
	return l
}

func checkStages(list []Stage, key string, bad func(format string, args ...any)) {
	for i, s := range list {
		if !slices.Contains(stages, s) {
			bad("%s[%d]: Invalid value: %q: allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic", key, i, s)
		}
	}
}

// check finds what is wrong with a rule, in Kubernetes' words.
func (r *Rule) check(bad func(key, format string, args ...any)) {
	switch {
	case r.Level == "":
		bad("level", "Required value")
	case !slices.Contains(levels, r.Level):
		bad("level", `Unsupported value: %q: supported values: "Metadata", "None", "Request", "RequestResponse"`, r.Level)
	}
	for i, u := range r.NonResourceURLs {
		key := fmt.Sprintf("nonResourceURLs[%d]", i)
		if u == "*" {
			continue
		}
		if !strings.HasPrefix(u, "/") {
			bad(key, "Invalid value: %q: non-resource URL rules must begin with a '/' character", u)
		}
		if u != "" && strings.Contains(u[:len(u)-1], "*") {
			bad(key, "Invalid value: %q: non-resource URL wildcards '*' must be the final character of the rule", u)
		}
	}
	for _, g := range r.Resources {
		if g.Group != "" && g.Group != "*" {
			if problems := validation.IsDNS1123Subdomain(g.Group); len(problems) > 0 {
				bad("resources.group", "Invalid value: %q: %s", g.Group, strings.Join(problems, ","))
			}
		}
		if len(g.ResourceNames) > 0 && len(g.Resources) == 0 {
			bad("resources.resourceNames", "Invalid value: %q: using resourceNames requires at least one resource", g.ResourceNames)
		}
	}
	checkStages(r.OmitStages, "omitStages", func(format string, args ...any) { bad("omitStages", format, args...) })
	if len(r.NonResourceURLs) > 0 && len(r.Resources)+len(r.Namespaces) > 0 {
		bad("nonResourceURLs", "Invalid value: %q: rules cannot apply to both regular resources and non-resource URLs", r.NonResourceURLs)
	}
}
