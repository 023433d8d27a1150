package rest

import (
	"context"
	"fmt"
	"time"

	autoscaling "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/owners"
	"proa.dev/apiserver/patch"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
)

var scaleGVK = autoscaling.SchemeGroupVersion.WithKind("Scale")

// scaleOf is the Scale of an object.
func scaleOf(s *Served, o object.Object) *autoscaling.Scale {
	info := s.Kind.Scale.Get(o)
	sc := &autoscaling.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp()},
		Spec:   autoscaling.ScaleSpec{Replicas: info.Spec},
		Status: autoscaling.ScaleStatus{Replicas: info.Status, Selector: info.Selector},
	}
	sc.SetGroupVersionKind(scaleGVK)
	return sc
}

func (a *API) getScale(s *Served, it *cache.Item) (Answer, error) {
	if s.Kind.Scale == nil {
		return Answer{}, apierrors.NewNotFound(s.group(), "scale")
	}
	return Answer{Other: scaleOf(s, it.Object)}, nil
}

// updateScale sets the replicas of the object by a Scale.
func (a *API) updateScale(ctx context.Context, s *Served, t client.Target, o object.Object, opt metav1.UpdateOptions) (Answer, error) {
	sc, ok := o.(*autoscaling.Scale)
	if !ok {
		return Answer{}, apierrors.NewBadRequest("wrong object passed to Scale update: expected autoscaling/v1 Scale")
	}
	if err := sameNamespace(s, t.Namespace, sc); err != nil {
		return Answer{}, err
	}
	if err := sameName(t.Name, sc); err != nil {
		return Answer{}, err
	}
	return a.scale(ctx, s, t, true, opt, func(ctx context.Context, cur *autoscaling.Scale) (*autoscaling.Scale, error) {
		return sc, a.trackScale(ctx, cur, sc, opt.FieldManager)
	})
}

func (a *API) patchScale(ctx context.Context, s *Served, t client.Target, p client.Patch, opt metav1.PatchOptions) (Answer, error) {
	update := metav1.UpdateOptions{DryRun: opt.DryRun, FieldManager: opt.FieldManager, FieldValidation: opt.FieldValidation}
	return a.scale(ctx, s, t, false, update, func(ctx context.Context, cur *autoscaling.Scale) (*autoscaling.Scale, error) {
		if p.Type == types.ApplyYAMLPatchType {
			return a.applyScale(ctx, cur, p.Data, opt)
		}
		sc := &autoscaling.Scale{}
		strict, shown, err := patch.Apply(cur, p, sc)
		if err != nil {
			return nil, err
		}
		if err := looseFields(ctx, strict, opt.FieldValidation, func() error { return patch.Strict(shown, strict) }); err != nil {
			return nil, err
		}
		if sc.ResourceVersion == cur.ResourceVersion {
			sc.ResourceVersion = ""
		}
		if sc.UID != "" && sc.UID != cur.UID {
			res := s.group()
			res.Resource += "/scale"
			//lint:ignore ST1005 Kubernetes' own words
			return nil, apierrors.NewConflict(res, t.Name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", sc.UID, cur.UID))
		}
		return sc, a.trackScale(ctx, cur, sc, opt.FieldManager)
	})
}

// scale changes the replicas to what next makes of the current Scale. put says that the client has sent a whole one.
func (a *API) scale(ctx context.Context, s *Served, t client.Target, put bool, opt metav1.UpdateOptions, next func(context.Context, *autoscaling.Scale) (*autoscaling.Scale, error)) (Answer, error) {
	if s.Kind.Scale == nil {
		return Answer{}, apierrors.NewNotFound(s.group(), "scale")
	}
	body := &subBody{gvk: scaleGVK,
		of: func(o object.Object) object.Object { return scaleOf(s, o) },
		into: func(body, o object.Object) error {
			sc := body.(*autoscaling.Scale)
			if err := checkScale(s, sc, t.Name); err != nil {
				return err
			}
			s.Kind.Scale.Set(o, sc.Spec.Replicas)
			return nil
		}}
	answer, err := a.do(ctx, s, change{target: t, options: opt, body: body, put: put, tracked: true, next: func(ctx context.Context, old *cache.Item) (object.Object, error) {
		cur, fields := scaleOf(s, old.Object), a.scaleFields(s, old.Object)
		var err error
		if cur.ManagedFields, err = fields.ToSubresource(); err != nil {
			return nil, bare(err)
		}
		sc, err := next(ctx, cur)
		if err != nil {
			return nil, err
		}
		if sc.Name != "" {
			if err := sameName(t.Name, sc); err != nil {
				return nil, err
			}
		}
		if err := checkScale(s, sc, t.Name); err != nil {
			return nil, err
		}
		o := old.Object.DeepCopyObject().(object.Object)
		o.SetResourceVersion(sc.ResourceVersion)
		managed, err := fields.ToParent(sc.ManagedFields)
		if err != nil {
			return nil, bare(err)
		}
		o.SetManagedFields(managed)
		body.sent = sentScale(sc, t)
		if sc.UID != "" {
			o.SetUID(sc.UID)
		}
		s.Kind.Scale.Set(o, sc.Spec.Replicas)
		return o, nil
	}})
	if err != nil {
		return Answer{}, err
	}
	return Answer{Other: scaleOf(s, answer.Item.Object)}, nil
}

// scaleFields translates between the managed fields of an object and those of its Scale.
func (a *API) scaleFields(s *Served, o object.Object) *managedfields.ScaleHandler {
	at := managedfields.ResourcePathMappings{s.Kind.GroupVersion().String(): fieldpath.MakePathOrDie("spec", "replicas")}
	for _, k := range a.Kinds() {
		if c := k.Custom; c == nil || s.Kind.Custom == nil || k.Group != s.Kind.Group || k.Kind != s.Kind.Kind {
			continue
		}
		var path fieldpath.Path // nil: the version has no Scale
		for _, name := range k.Custom.ReplicasPath {
			path = append(path, fieldpath.FieldNameElement(name))
		}
		at[k.GroupVersion().String()] = path
	}
	return managedfields.NewScaleHandler(o.GetManagedFields(), s.Kind.GroupVersion(), at)
}

// trackScale writes the managed fields of sc, which replaces cur.
func (a *API) trackScale(ctx context.Context, cur, sc *autoscaling.Scale, given string) (err error) {
	sc.ManagedFields, err = a.owners.Update(owners.Write{Old: cur, New: sc, APIVersion: scaleGVK.GroupVersion().String(), Subresource: "scale",
		Manager: manager(ctx, given), Now: a.now()})
	return err
}

// applyScale is server-side apply to a Scale.
func (a *API) applyScale(ctx context.Context, cur *autoscaling.Scale, data []byte, opt metav1.PatchOptions) (*autoscaling.Scale, error) {
	o, err := a.applyPatch(scaleKind(), "scale", cur, data, opt)
	if err != nil {
		return nil, err
	}
	if err := checkApplied(ctx, data, opt.FieldValidation); err != nil {
		return nil, err
	}
	if o.GetResourceVersion() == cur.ResourceVersion {
		o.SetResourceVersion("")
	}
	return o.(*autoscaling.Scale), nil
}

// scaleKind is what apply is to know of Scales, which are no kind of their own.
func scaleKind() *Served {
	k := kinds.Def[autoscaling.Scale, *autoscaling.Scale]{Path: "autoscaling/v1/scales"}.Kind()
	return &Served{Resource: k.Resource, Kind: k}
}

// sentScale is sc as admission sees it: with its kind, and its place.
func sentScale(sc *autoscaling.Scale, t client.Target) *autoscaling.Scale {
	out := sc.DeepCopy()
	out.SetGroupVersionKind(scaleGVK)
	out.Namespace = t.Namespace
	return out
}

// checkScale checks a Scale by itself. The checks of a custom object find a bad count in it.
func checkScale(s *Served, sc *autoscaling.Scale, name string) error {
	if s.Kind.Custom != nil {
		return nil
	}
	placed := sc.ObjectMeta // what a client leaves out is known
	placed.Name, placed.Namespace = name, "x"
	errs := validation.ValidateObjectMeta(&placed, true, kinds.SubdomainName, field.NewPath("metadata"))
	if sc.Spec.Replicas < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), sc.Spec.Replicas, "must be greater than or equal to 0"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(scaleGVK.GroupKind(), name, errs)
	}
	return nil
}

// Body is what a request to a subresource (or to the resource itself, if sub is empty) carries: a new object to decode into. Nil if
// nothing can be sent there.
func (s *Served) Body(sub string) object.Object {
	switch sub {
	case "", "status", "finalize", "ephemeralcontainers", "resize", "approval":
		return s.New()
	case "scale":
		o := &autoscaling.Scale{}
		o.SetGroupVersionKind(scaleGVK)
		return o
	}
	return newSub(s, sub)
}

// ScaleColumns head the table of a Scale of a kind. Made when asked for: hardly anybody does.
func ScaleColumns(of *kinds.Kind) []kinds.Column {
	if of.Custom != nil {
		age := kinds.AgeColumn
		age.Type = "date"
		return []kinds.Column{kinds.NameColumn, {Name: "Desired", Type: "integer", Description: "Number of desired replicas"},
			{Name: "Available", Type: "integer", Description: "Number of actual replicas"}, age}
	}
	cols := kinds.Columns("Name", "Desired:integer|"+autoscaling.ScaleSpec{}.SwaggerDoc()["replicas"],
		"Available:integer|"+autoscaling.ScaleStatus{}.SwaggerDoc()["replicas"], "Age")
	cols[0].Format = ""
	return cols
}

// ScaleRow is the row of a Scale.
func ScaleRow(o object.Object, now time.Time) []any {
	sc := o.(*autoscaling.Scale)
	return []any{sc.Name, int64(sc.Spec.Replicas), int64(sc.Status.Replicas), kinds.Age(sc.CreationTimestamp, now)}
}
