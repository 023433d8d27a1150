package crd

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	hub "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/cert"

	kind "proa.dev/kinds/apiextensions"
	"proa.dev/object"
)

type (
	definition = apiextensions.CustomResourceDefinition
	condition  = apiextensions.CustomResourceDefinitionCondition
)

// plan is d with the status that it should have beside the others of its group.
func plan(d *definition, others []*definition, now time.Time) *definition {
	next := object.Clone(d)
	if !namesEqual(d) {
		names(next, others, now)
	}
	establish(next, now)
	if c := nonStructural(d); c != nil {
		kind.Set(next, *c, now)
	} else {
		next.Status.Conditions = slices.DeleteFunc(next.Status.Conditions, func(c condition) bool { return c.Type == apiextensions.NonStructuralSchema })
	}
	if c := approval(d); c != nil {
		kind.Set(next, *c, now)
	}
	return next
}

func namesEqual(d *definition) bool {
	a, b := d.Spec.Names, d.Status.AcceptedNames
	return a.Plural == b.Plural && a.Singular == b.Singular && a.Kind == b.Kind && a.ListKind == b.ListKind &&
		slices.Equal(a.ShortNames, b.ShortNames) && slices.Equal(a.Categories, b.Categories)
}

// names accepts those names of d that no other of its group has, and says what stands in the way of the rest.
func names(d *definition, others []*definition, now time.Time) {
	var resources, kinds []string
	for _, o := range append(slices.Clone(others), d) {
		n := o.Status.AcceptedNames
		resources = append(append(resources, n.Plural, n.Singular), n.ShortNames...)
		kinds = append(kinds, n.Kind, n.ListKind)
	}
	c := condition{Type: apiextensions.NamesAccepted, Status: apiextensions.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found"}
	want, have := d.Spec.Names, &d.Status.AcceptedNames
	refuse := func(reason string, err error) {
		c.Status, c.Reason, c.Message = apiextensions.ConditionFalse, reason, err.Error()
	}
	take := func(reason, asked string, accepted *string, used []string) {
		if err := free(asked, *accepted, used); err != nil {
			refuse(reason, err)
			return
		}
		*accepted = asked
	}
	take("PluralConflict", want.Plural, &have.Plural, resources)
	take("SingularConflict", want.Singular, &have.Singular, resources)
	if !slices.Equal(want.ShortNames, have.ShortNames) {
		var errs []error
		for _, n := range want.ShortNames {
			if err := free(n, "", resources); err != nil && !slices.Contains(have.ShortNames, n) {
				errs = append(errs, err)
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			refuse("ShortNamesConflict", err)
		} else {
			have.ShortNames = want.ShortNames
		}
	}
	take("KindConflict", want.Kind, &have.Kind, kinds)
	take("ListKindConflict", want.ListKind, &have.ListKind, kinds)
	have.Categories = want.Categories
	kind.Set(d, c, now)
	if kind.Find(d, apiextensions.Established) == nil {
		kind.Set(d, condition{Type: apiextensions.Established, Status: apiextensions.ConditionFalse, Reason: "NotAccepted", Message: "not all names are accepted"}, now)
	}
}

func free(asked, accepted string, used []string) error {
	if asked == accepted || !slices.Contains(used, asked) {
		return nil
	}
	return fmt.Errorf("%q is already in use", asked)
}

// establish says that d is served, once its names are accepted. What is established stays so.
func establish(d *definition, now time.Time) {
	if !kind.True(d, apiextensions.NamesAccepted) || kind.True(d, apiextensions.Established) {
		return
	}
	c := condition{Type: apiextensions.Established, Status: apiextensions.ConditionTrue, Reason: "InitialNamesAccepted", Message: "the initial names have been accepted"}
	if v := d.Spec.Conversion; v != nil && v.Webhook != nil && v.Webhook.ClientConfig != nil && badBundle(v.Webhook.ClientConfig.CABundle) {
		c.Status, c.Reason, c.Message = apiextensions.ConditionFalse, "InvalidCABundle", "The conversion webhook CABundle is invalid"
	}
	kind.Set(d, c, now)
}

func badBundle(pem []byte) bool {
	if len(pem) == 0 {
		return false
	}
	_, err := cert.ParseCertsPEM(pem)
	return err != nil
}

// nonStructural says what keeps the schemas of d from being structural; nil is nothing.
func nonStructural(d *definition) *condition {
	var errs field.ErrorList
	if d.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "must be false"))
	}
	for i, v := range d.Spec.Versions {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		in := &hub.JSONSchemaProps{}
		err := apiextensions.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema.DeepCopy(), in, nil)
		var s *schema.Structural
		if err == nil {
			s, err = schema.NewStructural(in)
		}
		if err != nil {
			return &condition{Type: apiextensions.NonStructuralSchema, Status: apiextensions.ConditionUnknown, Reason: "StructuralError",
				Message: fmt.Sprintf("failed to check validation schema for version %s: %v", v.Name, err)}
		}
		errs = append(errs, schema.ValidateStructural(field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema"), s)...)
	}
	if len(errs) == 0 {
		return nil
	}
	return &condition{Type: apiextensions.NonStructuralSchema, Status: apiextensions.ConditionTrue, Reason: "Violations", Message: errs.ToAggregate().Error()}
}

// approval says whether a definition in a group of Kubernetes itself names its approval; nil for other groups.
func approval(d *definition) *condition {
	if !apihelpers.IsProtectedCommunityGroup(d.Spec.Group) {
		return nil
	}
	state, reason := apihelpers.GetAPIApprovalState(d.Annotations)
	c := &condition{Type: apiextensions.KubernetesAPIApprovalPolicyConformant, Status: apiextensions.ConditionFalse, Message: reason}
	switch state {
	case apihelpers.APIApprovalInvalid:
		c.Reason = "InvalidAnnotation"
	case apihelpers.APIApprovalMissing:
		c.Reason = "MissingAnnotation"
	case apihelpers.APIApproved:
		c.Status, c.Reason = apiextensions.ConditionTrue, "ApprovedAnnotation"
	case apihelpers.APIApprovalBypassed:
		c.Reason = "UnapprovedAnnotation"
	default:
		c.Status, c.Reason = apiextensions.ConditionUnknown, "UnknownAnnotation"
	}
	return c
}
