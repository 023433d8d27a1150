package rest

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mvalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"

	"proa.dev/apiserver/cache"
	"proa.dev/client"
	"proa.dev/object"
	"proa.dev/store"
)

// Update replaces an object or one of its subresources by o, in the version that s serves. o belongs to the API from then on.
func (a *API) Update(ctx context.Context, s *Served, t client.Target, o object.Object, opt metav1.UpdateOptions) (Answer, error) {
	if errs := mvalidation.ValidateUpdateOptions(&opt); len(errs) > 0 {
		return Answer{}, apierrors.NewInvalid(optionsKind("UpdateOptions"), "", errs)
	}
	if s.Shelf == nil {
		return Answer{}, apierrors.NewMethodNotSupported(s.group(), "update")
	}
	if t.Sub == "scale" {
		return a.updateScale(ctx, s, t, o, opt)
	}
	o, err := s.In(o)
	if err != nil {
		return Answer{}, err
	}
	if err := sameNamespace(s, t.Namespace, o); err != nil {
		return Answer{}, err
	}
	if err := sameName(t.Name, o); err != nil {
		return Answer{}, err
	}
	c := change{target: t, options: opt, put: true}
	first := true
	c.next = func(context.Context, *cache.Item) (object.Object, error) {
		if first { // the second try needs what the first one has used up
			first = false
			next := o
			o = o.DeepCopyObject().(object.Object)
			return next, nil
		}
		return o.DeepCopyObject().(object.Object), nil
	}
	if createsOnUpdate(s.group()) && t.Sub == "" {
		c.create = func(ctx context.Context, o object.Object) (Answer, error) {
			if o.GetUID() != "" {
				return Answer{}, notFound(s, t.Name)
			}
			o.SetResourceVersion("")
			out, err := s.Out(o)
			if err != nil {
				return Answer{}, err
			}
			return a.Create(ctx, s, client.Target{Resource: t.Resource, Key: object.Key{Namespace: t.Namespace}}, out,
				metav1.CreateOptions{DryRun: opt.DryRun, FieldManager: opt.FieldManager, FieldValidation: opt.FieldValidation})
		}
	}
	if err := subWrites(s, t.Sub, &c); err != nil {
		return Answer{}, err
	}
	return a.do(ctx, s, c)
}

// subWrites says what a write to a subresource that takes the whole object may change.
func subWrites(s *Served, sub string, c *change) error {
	next := c.next
	switch {
	case sub == "":
	case sub == "status" && s.Kind.Status:
		c.status = true
	case sub == "finalize" && s.Kind.Kind == "Namespace":
		c.raw = true
		c.next = func(ctx context.Context, old *cache.Item) (object.Object, error) {
			return finalizeOf(ctx, s, next, old)
		}
	case sub == "ephemeralcontainers" && s.Kind.Kind == "Pod":
		c.raw, c.counts = true, true
		c.next = func(ctx context.Context, old *cache.Item) (object.Object, error) {
			return ephemeralOf(ctx, s, next, old)
		}
	case sub == "resize" && s.Kind.Kind == "Pod":
		c.raw, c.counts = true, true
		c.next = func(ctx context.Context, old *cache.Item) (object.Object, error) { return resizeOf(ctx, s, next, old) }
	case s.Kind.StatusSub(sub) != nil:
		c.status = true
	default:
		return apierrors.NewNotFound(s.group(), sub)
	}
	return nil
}

// conflictOr is err, or the lost race with whoever changed old.
func conflictOr(err error, s *Served, old *cache.Item) error {
	if err != nil {
		return err
	}
	return &store.Conflict{Key: s.Shelf.StoreKey(old.Key)}
}
