package rest

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/cache"
	"proa.dev/client"
	"proa.dev/object"
)

// Computed makes the objects of a kind that is not stored when somebody asks: all, those of a namespace, or one by its name. They are
// the caller's.
type Computed func(ctx context.Context, namespace, name string) ([]object.Object, error)

// compute is the objects of a kind without a shelf; ok is false where nobody makes any.
func (a *API) compute(ctx context.Context, s *Served, t client.Target, name string) (items []*cache.Item, ok bool, err error) {
	if s.Kind.Kind == "ComponentStatus" {
		return a.components(ctx, s), true, nil
	}
	made := a.computed[s.Kind.GVK()]
	if made == nil {
		return nil, false, nil
	}
	list, err := made(ctx, t.Namespace, name)
	if err != nil {
		return nil, true, failure(err)
	}
	for _, o := range list {
		o.GetObjectKind().SetGroupVersionKind(s.GVK())
		items = append(items, cache.Loose(s.Kind, o))
	}
	return items, true, nil
}

func (a *API) getComputed(ctx context.Context, s *Served, t client.Target) (Answer, error) {
	items, ok, err := a.compute(ctx, s, t, t.Name)
	if err != nil {
		return Answer{}, err
	}
	for _, it := range items {
		if it.Key.Name == t.Name {
			return Answer{Item: it}, nil
		}
	}
	if !ok {
		return Answer{}, notFound(s, t.Name)
	}
	group := s.group()
	if s.Kind.Kind == "ComponentStatus" {
		group.Resource = s.Kind.Singular
	}
	return Answer{}, apierrors.NewNotFound(group, t.Name)
}

func (a *API) listComputed(ctx context.Context, s *Served, t client.Target, opt metav1.ListOptions) (*Listing, error) {
	sel, err := a.selection(ctx, s, t, opt)
	if err != nil {
		return nil, err
	}
	items, ok, err := a.compute(ctx, s, t, "")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, apierrors.NewMethodNotSupported(s.group(), "list")
	}
	l := &Listing{}
	for _, it := range items {
		if yes, err := sel.Matches(it); err != nil {
			return nil, err
		} else if yes {
			l.Items = append(l.Items, it)
		}
	}
	return l, nil
}
