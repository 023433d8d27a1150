package policystatus

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/cel"
	"proa.dev/object"
)

// maxTypes bounds the types that a policy is checked against.
const maxTypes = 10

// check is what is wrong with the expressions of a policy, for each of the types that it is about.
func check(p *registration.ValidatingAdmissionPolicy, served []object.Resource) ([]registration.ExpressionWarning, error) {
	kinds := kindsOf(p, served)
	checkers := make([]*cel.Typed, len(kinds))
	for i, k := range kinds {
		t, err := cel.NewTyped(typeOf(k), paramsOf(p), p.Spec.ParamKind != nil)
		if err != nil {
			return nil, fmt.Errorf("type of %s for expressions: %w", k, err)
		}
		for _, v := range p.Spec.Variables {
			t.Define(v.Name, v.Expression)
		}
		checkers[i] = t
	}
	var out []registration.ExpressionWarning
	look := func(at *field.Path, text string) {
		var found []string
		for i, t := range checkers {
			if issues := t.Check(text); issues != "" {
				found = append(found, fmt.Sprintf("%v: %s\n", kinds[i], issues))
			}
		}
		if found != nil {
			out = append(out, registration.ExpressionWarning{FieldRef: at.String(), Warning: strings.Join(found, "\n")})
		}
	}
	for i, v := range p.Spec.Validations {
		at := field.NewPath("spec", "validations").Index(i)
		look(at.Child("expression"), v.Expression)
		if v.MessageExpression != "" {
			look(at.Child("messageExpression"), v.MessageExpression)
		}
	}
	return out, nil
}

// typeOf is the Go type of a kind; nil if it has none.
func typeOf(k schema.GroupVersionKind) reflect.Type {
	if !object.Scheme().Recognizes(k) {
		return nil
	}
	o, err := object.Scheme().New(k)
	if err != nil {
		return nil
	}
	return reflect.TypeOf(o).Elem()
}

func paramsOf(p *registration.ValidatingAdmissionPolicy) reflect.Type {
	if p.Spec.ParamKind == nil {
		return nil
	}
	return typeOf(schema.FromAPIVersionAndKind(p.Spec.ParamKind.APIVersion, p.Spec.ParamKind.Kind))
}

// kindsOf is the kinds with a type that a policy is about, in order. Rules with wildcards are about none in particular.
func kindsOf(p *registration.ValidatingAdmissionPolicy, served []object.Resource) (out []schema.GroupVersionKind) {
	if p.Spec.MatchConstraints == nil {
		return nil
	}
	for _, r := range p.Spec.MatchConstraints.ResourceRules {
		if slices.Contains(r.APIGroups, "*") || slices.Contains(r.APIVersions, "*") {
			continue
		}
		for _, s := range served {
			if !slices.ContainsFunc(r.APIGroups, func(g string) bool { return g == "" || g == s.Group }) || !slices.Contains(r.Resources, s.Resource) {
				continue
			}
			for _, v := range r.APIVersions {
				k := schema.GroupVersionKind{Group: s.Group, Version: v, Kind: s.Kind}
				if typeOf(k) != nil && !slices.Contains(out, k) {
					out = append(out, k)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	})
	return out[:min(len(out), maxTypes)]
}
