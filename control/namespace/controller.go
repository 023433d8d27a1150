package namespace

import (
	"context"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of all namespaces.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "namespace", View: c.deps.View, Log: c.deps.Logger("namespace"), Do: c, Workers: 4,
		Sources: []control.Source{
			control.Self[core.Namespace](),
			{Resource: object.ResourceOf[core.Pod](), Keys: c.onPod},
		},
	}
	return l.Run(ctx)
}

// onPod wakes a namespace that is being deleted when a pod of it is gone.
func (c *Controller) onPod(e client.Event, wake func(object.Key)) {
	if e.Type != client.Deleted {
		return
	}
	key := object.Key{Name: e.Object.GetNamespace()}
	if ns, ok := client.Lookup[core.Namespace](c.deps.View, key); ok && ns.DeletionTimestamp != nil {
		wake(key)
	}
}

// Reconcile empties one namespace that is being deleted.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	ns, ok := client.Lookup[core.Namespace](c.deps.View, key)
	if !ok || ns.DeletionTimestamp == nil {
		return control.Done, nil
	}
	unknown := client.Unknown(c.deps.View) // before the rest, so that what shows meanwhile is not missed
	in := found{c.content(ns.Name), unknown}
	changes, again := plan(ns, in, nil, time.Now())
	failed := control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
	if failed == nil || ctx.Err() != nil || apierrors.IsConflict(failed) {
		return again, failed
	}
	changes, _ = plan(ns, in, failed, time.Now())
	if len(changes) > 0 && changes[0].Op == control.Status {
		if err := control.Apply(ctx, c.deps.Client, c.deps.Events, changes[:1]); err != nil {
			return control.Done, err
		}
	}
	return control.Done, failed
}

// content is what the View has of a namespace.
func (c *Controller) content(namespace string) []content {
	var all []content
	for _, r := range c.deps.View.Resources() {
		if !r.Namespaced {
			continue
		}
		if objs := c.deps.View.List(r.GroupVersionResource, client.Select{Namespace: namespace}); len(objs) > 0 {
			all = append(all, content{r.GroupVersionResource, objs})
		}
	}
	return all
}
