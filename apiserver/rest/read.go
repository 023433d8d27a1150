package rest

import (
	"context"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/client"
)

// Get reads one object, or one of its subresources that read like it.
func (a *API) Get(ctx context.Context, s *Served, t client.Target, opt metav1.GetOptions) (Answer, error) {
	if s.Shelf == nil {
		return a.getComputed(ctx, s, t)
	}
	if err := a.atLeast(ctx, opt.ResourceVersion); err != nil {
		return Answer{}, err
	}
	it, ok := s.Shelf.Get(t.Key)
	if !ok {
		return Answer{}, notFound(s, t.Name)
	}
	it, err := s.Item(ctx, it)
	if err != nil {
		return Answer{}, err
	}
	switch t.Sub {
	case "", "status", "resize", "ephemeralcontainers", "approval":
		return Answer{Item: it}, nil
	case "scale":
		return a.getScale(s, it)
	}
	return Answer{}, apierrors.NewMethodNotSupported(s.group(), "get")
}

// atLeast waits until the cache is as new as a read with this resourceVersion needs: "" is the newest, "0" is anything.
func (a *API) atLeast(ctx context.Context, rv string) error {
	switch rv {
	case "":
		return failure(a.cache.Fresh(ctx))
	case "0":
		return nil
	}
	rev, err := parseRV(rv)
	if err != nil {
		return err
	}
	return failure(a.cache.WaitFor(ctx, rev))
}

// parseRV reads a resourceVersion; "" is 0. The error is a 500 as Kubernetes words it; a list makes a 400 of it.
func parseRV(rv string) (int64, error) {
	if rv == "" || rv == "0" {
		return 0, nil
	}
	n, err := strconv.ParseUint(rv, 10, 63)
	if err != nil {
		return 0, plainError(field.Invalid(field.NewPath("resourceVersion"), rv, err.Error()))
	}
	return int64(n), nil
}

func formatRV(rev int64) string { return strconv.FormatInt(rev, 10) }
