package rest

import (
	"context"

	"proa.dev/apiserver/cache"
	"proa.dev/object"
)

// Item is a stored object in the version that s serves, if it is of a custom kind: those are cached as they are stored. Objects of kinds
// with a Go type stay in the stored version, see Out.
func (s *Served) Item(ctx context.Context, it *cache.Item) (*cache.Item, error) {
	if it == nil || s.Kind.Current(it.Object) {
		return it, nil
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
	var other []object.Object
	for _, it := range items {
		if !s.Kind.Current(it.Object) {
			other = append(other, it.Object)
		}
	}
	if other == nil {
		return items, nil
	}
	converted, err := s.Kind.Custom.Convert(ctx, other)
	if err != nil {
		return nil, err
	}
	out := make([]*cache.Item, len(items))
	for i, it := range items {
		if out[i] = it; !s.Kind.Current(it.Object) {
			out[i], converted = it.As(s.Kind, converted[0]), converted[1:]
		}
	}
	return out, nil
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
	if err != nil {
		return nil, err
	}
	return s.Item(ctx, it)
}
