package rest

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	mvalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/patch"
	"proa.dev/client"
	"proa.dev/object"
)

// PatchTypes is the content types of patches that s takes, as errors list them.
func PatchTypes(s *Served) string {
	if s.Kind.Custom != nil {
		return patch.AcceptedCustom
	}
	return patch.Accepted
}

// Patch changes an object or one of its subresources.
func (a *API) Patch(ctx context.Context, s *Served, t client.Target, p client.Patch, opt metav1.PatchOptions) (Answer, error) {
	if errs := mvalidation.ValidatePatchOptions(&opt, p.Type); len(errs) > 0 {
		return Answer{}, apierrors.NewInvalid(optionsKind("PatchOptions"), "", errs)
	}
	if s.Shelf == nil {
		return Answer{}, apierrors.NewMethodNotSupported(s.group(), "patch")
	}
	if t.Sub == "scale" {
		return a.patchScale(ctx, s, t, p, opt)
	}
	c := change{target: t, options: metav1.UpdateOptions{DryRun: opt.DryRun, FieldManager: opt.FieldManager, FieldValidation: opt.FieldValidation}}
	if p.Type == types.ApplyYAMLPatchType {
		a.prepareApply(ctx, s, t, p, opt, &c)
	} else {
		c.next = func(ctx context.Context, old *cache.Item) (object.Object, error) {
			return patched(ctx, s, old, p, opt.FieldValidation)
		}
	}
	if err := subWrites(s, t.Sub, &c); err != nil {
		return Answer{}, err
	}
	return a.do(ctx, s, c)
}

// patched is old with the patch applied, in the stored version. It has a resourceVersion only if the patch brought one.
func patched(ctx context.Context, s *Served, old *cache.Item, p client.Patch, validation string) (object.Object, error) {
	cur, err := s.Out(old.Object)
	if err != nil {
		return nil, err
	}
	o := s.New()
	strict, shown, err := patch.Apply(cur, p, o)
	if err != nil {
		return nil, err
	}
	if s.Kind.Custom != nil {
		return shapePatched(ctx, s, old, o.(*unstructured.Unstructured), strict, validation)
	}
	if err := looseFields(ctx, strict, validation, func() error { return patch.Strict(shown, strict) }); err != nil {
		return nil, err
	}
	if err := unversioned(s, old, o); err != nil {
		return nil, err
	}
	return s.In(o)
}

// unversioned takes the resourceVersion off what a patch has made, unless the patch itself brought one. A patch may not remove it where a
// change must say what it changes.
func unversioned(s *Served, old *cache.Item, o object.Object) error {
	switch o.GetResourceVersion() {
	case old.Object.GetResourceVersion():
		o.SetResourceVersion("")
	case "", "0":
		if s.Kind.Versioned {
			return noVersion(s, old.Key.Name)
		}
	}
	return nil
}

// shapePatched is patched for custom kinds.
func shapePatched(ctx context.Context, s *Served, old *cache.Item, u *unstructured.Unstructured, strict []error, validation string) (object.Object, error) {
	text, err := u.MarshalJSON()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	refuse := func(err error) error {
		return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), strings.TrimSpace(string(text)), err.Error())})
	}
	unknown, err := s.Kind.Custom.Coerce(u, true)
	if err != nil {
		return nil, refuse(err)
	}
	for _, path := range unknown {
		strict = append(strict, fmt.Errorf("unknown field %q", path))
	}
	if len(strict) > 0 && validation == metav1.FieldValidationStrict {
		return nil, refuse(runtime.NewStrictDecodingError(strict))
	}
	if err := FieldErrors(ctx, s.GVK(), strict, validation); err != nil {
		return nil, err
	}
	return u, unversioned(s, old, u)
}

// prepareApply makes c a server-side apply, which creates what does not exist.
func (a *API) prepareApply(ctx context.Context, s *Served, t client.Target, p client.Patch, opt metav1.PatchOptions, c *change) {
	c.tracked = true
	c.next = func(_ context.Context, old *cache.Item) (object.Object, error) {
		live := s.Kind.New()
		live.GetObjectKind().SetGroupVersionKind(s.Kind.GVK())
		if old != nil {
			live = old.Object.DeepCopyObject().(object.Object)
		}
		rev := live.GetResourceVersion()
		o, err := a.applyPatch(s, t.Sub, live, p.Data, opt)
		if err != nil {
			return nil, err
		}
		if err := checkApplied(ctx, p.Data, opt.FieldValidation); err != nil {
			return nil, err
		}
		if o.GetResourceVersion() == rev {
			o.SetResourceVersion("")
		}
		return o, nil
	}
	if t.Sub != "" {
		return
	}
	c.create = func(ctx context.Context, o object.Object) (Answer, error) {
		if o.GetUID() != "" {
			return Answer{}, apierrors.NewConflict(s.group(), t.Name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", o.GetUID()))
		}
		if o.GetName() == "" {
			return Answer{}, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", t.Name))
		}
		if _, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64); o.GetResourceVersion() != "" && err != nil {
			return Answer{}, plainError(err)
		}
		if o.GetName() != t.Name {
			return Answer{}, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), t.Name))
		}
		if err := matchNamespace(s, t.Namespace, o); err != nil {
			return Answer{}, err
		}
		wipeMeta(o)
		o.SetResourceVersion("")
		prepared(s, o)
		it, err := a.create(ctx, s, o, metav1.CreateOptions{DryRun: opt.DryRun, FieldManager: opt.FieldManager, FieldValidation: opt.FieldValidation}, false)
		return Answer{Item: it, Created: true}, err
	}
}

// checkApplied reports duplicate fields of an apply patch. Unknown ones have kept it from being applied.
func checkApplied(ctx context.Context, data []byte, validation string) error {
	if validation == metav1.FieldValidationIgnore {
		return nil
	}
	err := yaml.UnmarshalStrict(data, &map[string]any{})
	if err == nil {
		return nil
	}
	return looseFields(ctx, []error{err}, validation, func() error {
		return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", err))
	})
}
