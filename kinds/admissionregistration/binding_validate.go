package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

func policyName(e *check.Errors, p *field.Path, name string) {
	if name == "" {
		e.Required(p, "")
		return
	}
	e.Subdomain(p, name)
}

func actions(e *check.Errors, p *field.Path, list []registration.ValidationAction) {
	for i, a := range list {
		check.OneOf(e, p.Index(i), a, registration.Audit, registration.Deny, registration.Warn)
		if slices.Contains(list[:i], a) {
			e.Duplicate(p.Index(i), a)
		}
	}
	if slices.Contains(list, registration.Deny) && slices.Contains(list, registration.Warn) {
		e.Invalid(p, list, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(list) == 0 {
		e.Required(p, "at least one validation action is required")
	}
}

func paramRef(e *check.Errors, p *field.Path, r *registration.ParamRef) {
	if r == nil {
		return
	}
	const exclusive = "name and selector are mutually exclusive"
	if r.Name != "" {
		e.Invalids(p.Child("name"), r.Name, path.IsValidPathSegmentName(r.Name))
		if r.Selector != nil {
			e.Forbidden(p.Child("name"), exclusive)
		}
	}
	if r.Selector != nil {
		e.Selector(p.Child("selector"), r.Selector)
		if r.Name != "" {
			e.Forbidden(p.Child("selector"), exclusive)
		}
	}
	if r.Name == "" && r.Selector == nil {
		e.Required(p, "one of name or selector must be specified")
	}
	switch missing := p.Child("parameterNotFoundAction"); {
	case r.ParameterNotFoundAction == nil || *r.ParameterNotFoundAction == "":
		e.Required(missing, "")
	default:
		check.OneOf(e, missing, *r.ParameterNotFoundAction, registration.DenyAction, registration.AllowAction)
	}
}

func paramKind(e *check.Errors, p *field.Path, k *registration.ParamKind) {
	at := p.Child("apiVersion")
	if k.APIVersion == "" {
		e.Required(at, "")
	} else if gv, err := schema.ParseGroupVersion(k.APIVersion); err != nil {
		e.Invalid(at, k.APIVersion, err.Error())
	} else {
		if gv.Group != "" {
			joined(e, at, gv.Group, "", utilvalidation.IsDNS1123Subdomain(gv.Group))
		}
		if gv.Version == "" {
			e.Invalid(at, k.APIVersion, "version must be specified")
		} else {
			joined(e, at, gv.Version, "", utilvalidation.IsDNS1035Label(gv.Version))
		}
	}
	if k.Kind == "" {
		e.Required(p.Child("kind"), "")
	} else {
		joined(e, p.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: ", utilvalidation.IsDNS1035Label(strings.ToLower(k.Kind)))
	}
}

// joined reports several problems of one value as one.
func joined(e *check.Errors, p *field.Path, v, before string, problems []string) {
	if len(problems) > 0 {
		e.Invalid(p, v, before+strings.Join(problems, ","))
	}
}

// noDeletes refuses rules of mutating policies that match deletes.
func noDeletes(e *check.Errors, p *field.Path, rules []registration.NamedRuleWithOperations) {
	for i := range rules {
		for _, op := range rules[i].Operations {
			check.OneOf(e, p.Child("resourceRules", "operations"), op, registration.OperationAll, registration.Connect, registration.Create, registration.Update)
		}
	}
}

// paramKindCell and paramRefCell are how tables show what a policy and a binding refer to.
func paramKindCell(k *registration.ParamKind) string {
	if k == nil {
		return unset
	}
	return k.APIVersion + "/" + k.Kind
}

func paramRefCell(r *registration.ParamRef) string {
	switch {
	case r != nil && r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r != nil && r.Name != "":
		return "*/" + r.Name
	case r != nil && r.Selector != nil:
		return fmt.Sprint(r.Selector)
	}
	return unset
}

const unset = "<unset>"
