package custom

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"

	"proa.dev/kinds"
	"proa.dev/object"
)

// checks validates the objects of one version. Metadata is checked for every kind already.
type checks struct {
	kind    *kinds.Kind
	schemas *schemas
	scale   *apiextensions.CustomResourceSubresourceScale
}

// typeMeta says whether o is of this kind and version at all.
func (c *checks) typeMeta(u *unstructured.Unstructured) (errs field.ErrorList) {
	if u.GetKind() != c.kind.Kind {
		errs = append(errs, field.Invalid(field.NewPath("kind"), u.GetKind(), "must be "+c.kind.Kind))
	}
	if gv := c.kind.GroupVersion().String(); u.GetAPIVersion() != gv {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), u.GetAPIVersion(), "must be "+gv))
	}
	return errs
}

func (c *checks) create(o object.Object) field.ErrorList {
	u := o.(*unstructured.Unstructured)
	st := c.schemas.structural()
	errs := c.typeMeta(u)
	if len(errs) == 0 {
		errs = append(errs, schemavalidation.ValidateCustomResource(nil, u.Object, c.schemas.validator())...)
		errs = append(errs, c.specReplicas(u)...)
		errs = append(errs, c.statusReplicas(u)...)
	}
	errs = append(errs, objectmeta.Validate(context.Background(), nil, u.Object, st, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, st, u.Object)...)
	if c.schemas.rules() != nil && len(errs) == 0 { // what is wrong in the metadata is told by others, but keeps rules from being asked
		meta := apivalidation.ValidateObjectMetaAccessor(u, c.kind.Namespaced, c.kind.Name, field.NewPath("metadata"))
		if out := blocked(meta); len(out) > len(meta) {
			return out[len(meta):]
		}
	}
	return c.rules(errs, u.Object, nil)
}

func (c *checks) update(o, was object.Object) field.ErrorList {
	u, old := o.(*unstructured.Unstructured), was.(*unstructured.Unstructured)
	st := c.schemas.structural()
	same := common.NewCorrelatedObject(u.Object, old.Object, &model.Structural{Structural: st})
	errs := c.typeMeta(u)
	if len(errs) == 0 {
		errs = append(errs, schemavalidation.ValidateCustomResourceUpdate(nil, u.Object, old.Object, c.schemas.validator(), schemavalidation.WithRatcheting(same))...)
		errs = append(errs, c.specReplicas(u)...)
		errs = append(errs, c.statusReplicas(u)...)
	}
	errs = append(errs, objectmeta.Validate(context.Background(), nil, u.Object, st, false)...)
	if len(listtype.ValidateListSetsAndMaps(nil, st, old.Object)) == 0 { // what was wrong before may stay
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, st, u.Object)...)
	}
	return c.rules(errs, u.Object, old.Object, cel.WithRatcheting(same))
}

func (c *checks) status(o, was object.Object) field.ErrorList {
	u, old := o.(*unstructured.Unstructured), was.(*unstructured.Unstructured)
	st := c.schemas.structural()
	same := common.NewCorrelatedObject(u.Object, old.Object, &model.Structural{Structural: st})
	errs := c.typeMeta(u)
	if len(errs) == 0 {
		if status, ok := u.Object["status"]; ok {
			var opt []schemavalidation.ValidationOption
			if st != nil {
				opt = append(opt, schemavalidation.WithRatcheting(same.Key("status")))
			}
			if v := c.schemas.status(); v != nil {
				errs = append(errs, schemavalidation.ValidateCustomResourceUpdate(field.NewPath("status"), status, old.Object["status"], v, opt...)...)
			}
		}
		errs = append(errs, c.statusReplicas(u)...)
	}
	if now := listtype.ValidateListSetsAndMaps(nil, st, u.Object); len(now) > 0 && len(listtype.ValidateListSetsAndMaps(nil, st, old.Object)) == 0 {
		errs = append(errs, now...)
	}
	return c.rules(errs, u.Object, old.Object, cel.WithRatcheting(same))
}

// rules adds what the CEL rules of the schema say, unless the object is so wrong that they cannot be asked.
func (c *checks) rules(errs field.ErrorList, now, old map[string]any, opt ...cel.Option) field.ErrorList {
	v := c.schemas.rules()
	if v == nil {
		return errs
	}
	if out := blocked(errs); len(out) > len(errs) {
		return out
	}
	var was any
	if old != nil {
		was = old
	}
	more, _ := v.Validate(context.Background(), nil, c.schemas.structural(), now, was, celconfig.RuntimeCELCostBudget, opt...)
	return append(errs, more...)
}

// blocked adds that rules were not checked, if there are errors that keep them from it.
func blocked(errs field.ErrorList) field.ErrorList {
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return append(errs, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
		}
	}
	return errs
}

func (c *checks) specReplicas(u *unstructured.Unstructured) field.ErrorList {
	if c.scale == nil {
		return nil
	}
	return replicas(u, c.scale.SpecReplicasPath)
}

func (c *checks) statusReplicas(u *unstructured.Unstructured) field.ErrorList {
	if c.scale == nil {
		return nil
	}
	errs := replicas(u, c.scale.StatusReplicasPath)
	if p := c.scale.LabelSelectorPath; p != nil {
		if text, _, err := unstructured.NestedString(u.Object, fields(*p)...); err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*p), text, err.Error()))
		}
	}
	return errs
}

func replicas(u *unstructured.Unstructured, path string) (errs field.ErrorList) {
	n, _, err := unstructured.NestedInt64(u.Object, fields(path)...)
	switch {
	case err != nil:
		errs = append(errs, field.Invalid(field.NewPath(path), n, err.Error()))
	case n < 0:
		errs = append(errs, field.Invalid(field.NewPath(path), n, "should be a non-negative integer"))
	case n > math.MaxInt32:
		errs = append(errs, field.Invalid(field.NewPath(path), n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32)))
	}
	return errs
}

// warnFinalizers warns of new finalizers that others might use, too.
func warnFinalizers(o, old object.Object) (out []string) {
	var had []string
	if old != nil {
		had = old.GetFinalizers()
	}
	added := slices.Clone(o.GetFinalizers())
	slices.Sort(added)
	for _, f := range slices.Compact(added) {
		if slices.Contains(had, f) {
			continue
		}
		for _, msg := range validation.IsQualifiedName(f) {
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", f, msg))
		}
		switch {
		case strings.Contains(f, "/"), f == metav1.FinalizerOrphanDependents, f == metav1.FinalizerDeleteDependents, f == string(core.FinalizerKubernetes):
		case strings.Contains(f, "."):
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers", f))
		default:
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers", f))
		}
	}
	return out
}
