package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/apiserver/cache"
	"proa.dev/object"
	"proa.dev/store"
)

// Item is a stored object in the version that s serves, if it is of a custom kind: those are cached as they are stored. Objects of kinds
// with a Go type stay in the stored version, see Out.
func (s *Served) Item(ctx context.Context, it *cache.Item) (*cache.Item, error) {
	if it == nil || s.Kind.Current(it.Object) {
		return it, nil
	}
	if as := it.Kept(s.Kind); as != nil {
		return as, nil
	}
	out, err := s.Kind.Custom.Convert(ctx, []object.Object{it.Object})
	if err != nil {
		return nil, err
	}
	return it.As(s.Kind, out[0]), nil
}

// Items is Item of many: one call of a conversion webhook, if there is one.
func (s *Served) Items(ctx context.Context, items []*cache.Item) ([]*cache.Item, error) {
	if s.Kind.Custom == nil {
		return items, nil
	}
	var out []*cache.Item // nil as long as there is nothing to convert
	var other []object.Object
	var at []int
	for i, it := range items {
		if s.Kind.Current(it.Object) {
			continue
		}
		if out == nil {
			out = slices.Clone(items)
		}
		if out[i] = it.Kept(s.Kind); out[i] == nil {
			other, at = append(other, it.Object), append(at, i)
		}
	}
	if out == nil {
		return items, nil
	}
	if len(other) == 0 {
		return out, nil
	}
	converted, err := s.Kind.Custom.Convert(ctx, other)
	if err != nil {
		return nil, err
	}
	for n, i := range at {
		out[i] = items[i].As(s.Kind, converted[n])
	}
	return out, nil
}

// version is what the selectors of a request in s's version look at, see cache.Selection; nil: at what is stored.
func (s *Served) version(ctx context.Context, sel *cache.Selection) func(*cache.Item) (*cache.Item, error) {
	c := s.Kind.Custom
	switch {
	case c == nil || sel.Labels == nil && sel.Fields == nil:
		return nil
	case c.Hooked:
		return func(it *cache.Item) (*cache.Item, error) {
			as, err := s.Item(ctx, it)
			if err == nil && as != it && it.Kept(s.Kind) == nil {
				it.Keep(as)
			}
			return as, err
		}
	case sel.Fields == nil || c.Stored == s.Kind:
		return nil
	}
	// Nothing but the schema makes the difference, and it knows every field that can be selected by.
	return func(it *cache.Item) (*cache.Item, error) { return it.As(s.Kind, it.Object), nil }
}

// ahead converts what sel will look at, all in one call of the webhook, if there is one.
func (s *Served) ahead(ctx context.Context, sel *cache.Selection, sn cache.Snapshot) error {
	if sel.Version == nil || !s.Kind.Custom.Hooked {
		return nil
	}
	var items []*cache.Item
	sn.Walk(sel.Namespace, object.Key{}, func(it *cache.Item) bool {
		if sel.Near(it) {
			items = append(items, it)
		}
		return true
	})
	return s.keep(ctx, items)
}

// keep has items remember what they are in s's version.
func (s *Served) keep(ctx context.Context, items []*cache.Item) error {
	converted, err := s.Items(ctx, items)
	if err != nil {
		return err
	}
	for i, it := range items {
		if as := converted[i]; as != it && it.Kept(s.Kind) == nil {
			it.Keep(as)
		}
	}
	return nil
}

// pageItems is stored values as items that sel can look at.
func (s *Served) pageItems(ctx context.Context, sel *cache.Selection, kvs []store.KV) ([]*cache.Item, error) {
	out := make([]*cache.Item, len(kvs))
	var err error
	for i := range kvs {
		if out[i], err = s.Shelf.ItemOf(&kvs[i]); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
	}
	if sel.Version != nil && s.Kind.Custom.Hooked {
		err = s.keep(ctx, out)
	}
	return out, err
}

// dryItem is what write would answer, if it did.
func (s *Served) dryItem(ctx context.Context, o object.Object) (*cache.Item, error) {
	c := s.Kind.Custom
	if c == nil || c.Stored == s.Kind {
		return cache.Loose(s.Kind, o), nil
	}
	out, err := c.Stored.Custom.Convert(ctx, []object.Object{o})
	if err == nil {
		out, err = c.Convert(ctx, out)
	}
	if err != nil {
		return nil, err
	}
	return cache.Loose(s.Kind, out[0]), nil
}

// Uncached is what Kubernetes says, whose cache of each version does not begin as long as an object cannot be converted, where err has
// come of that.
func (s *Served) Uncached(err error) error {
	status := apierrors.APIStatus(nil)
	if err == nil || s.Kind.Custom == nil || !errors.As(err, &status) || status.Status().Code != http.StatusInternalServerError || status.Status().Reason != "" {
		return err
	}
	return apierrors.NewTooManyRequests(fmt.Sprintf("storage is (re)initializing: failed to list %v: %v", s.GVK(), err), 1)
}

// write stores o, in the version that s works with, and returns it in that version.
func (a *API) write(ctx context.Context, s *Served, key object.Key, o object.Object, was int64) (*cache.Item, error) {
	if s.Kind.Custom != nil && s.Kind.Custom.Stored != s.Kind {
		out, err := s.Kind.Custom.Stored.Custom.Convert(ctx, []object.Object{o})
		if err != nil {
			return nil, err
		}
		o = out[0]
	}
	it, err := a.cache.Write(ctx, s.Shelf, key, o, was)
	if errors.Is(err, store.ErrTooLarge) && len(o.GetManagedFields()) > 0 { // it may fit without
		o.SetManagedFields(nil)
		it, err = a.cache.Write(ctx, s.Shelf, key, o, was)
	}
	if err != nil {
		return nil, err
	}
	return s.Item(ctx, it)
}
