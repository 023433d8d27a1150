package joined

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// Client is c for what is served here; calls about resources of others go out.
func (v *View) Client(c client.Client) client.Client { return caller{c, v} }

// caller is a client.Client that chooses by resource.
type caller struct {
	here client.Client
	view *View
}

var _ client.Client = caller{}

func (c caller) to(t client.Target) client.Client {
	if p := c.view.part(t.Resource); p != nil {
		return p.client
	}
	return c.here
}

func (c caller) Get(ctx context.Context, t client.Target) (object.Object, error) {
	return c.to(t).Get(ctx, t)
}

func (c caller) List(ctx context.Context, t client.Target, opt metav1.ListOptions) (*client.List, error) {
	return c.to(t).List(ctx, t, opt)
}

func (c caller) Create(ctx context.Context, t client.Target, o object.Object, opt metav1.CreateOptions) (object.Object, error) {
	return c.to(t).Create(ctx, t, o, opt)
}

func (c caller) Update(ctx context.Context, t client.Target, o object.Object, opt metav1.UpdateOptions) (object.Object, error) {
	return c.to(t).Update(ctx, t, o, opt)
}

func (c caller) Patch(ctx context.Context, t client.Target, p client.Patch, opt metav1.PatchOptions) (object.Object, error) {
	return c.to(t).Patch(ctx, t, p, opt)
}

func (c caller) Delete(ctx context.Context, t client.Target, opt metav1.DeleteOptions) error {
	return c.to(t).Delete(ctx, t, opt)
}

func (c caller) DeleteCollection(ctx context.Context, t client.Target, opt metav1.DeleteOptions, which metav1.ListOptions) error {
	return c.to(t).DeleteCollection(ctx, t, opt, which)
}
