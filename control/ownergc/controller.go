package ownergc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kit/queue"
	"proa.dev/kit/run"
	"proa.dev/object"
)

const workers = 16

// Controller is the garbage collector.
type Controller struct {
	deps  control.Deps
	log   *slog.Logger
	graph *graph
	queue *queue.Queue[item]

	mu    sync.Mutex // guards kinds
	kinds map[schema.GroupKind]object.Resource
}

// New makes the collector; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{
		deps: d, log: d.Logger("ownergc"), graph: newGraph(),
		queue: queue.New[item](10*time.Millisecond, 5*time.Minute),
		kinds: map[schema.GroupKind]object.Resource{},
	}, nil
}

// Run works until ctx ends. Nothing is deleted before every resource has told what exists.
func (c *Controller) Run(ctx context.Context) error {
	return run.All(ctx, c.watches(ctx)...)
}

func (c *Controller) watches(ctx context.Context) []run.Component {
	ready := make(chan struct{})
	parts := []run.Component{{Name: "resources", Run: func(ctx context.Context) error { return c.follow(ctx, func() { close(ready) }) }}}
	for range workers {
		parts = append(parts, run.Component{Name: "worker", Run: func(ctx context.Context) error {
			select {
			case <-ready:
			case <-ctx.Done():
			}
			for c.one(ctx) {
			}
			return ctx.Err()
		}})
	}
	return parts
}

// follow watches every resource that the View carries, those that come later too. ready is called when the first ones have told
// what exists.
func (c *Controller) follow(ctx context.Context, ready func()) error {
	g, ctx := errgroup.WithContext(ctx)
	ended := make(chan client.Resource)
	running := map[client.Resource]bool{}
	var synced sync.WaitGroup
	for first := true; ; first = false {
		changed := client.Changed(c.deps.View)
		for _, r := range c.learn() {
			r := r.GroupVersionResource
			if running[r] {
				continue
			}
			running[r] = true
			done := func() {}
			if first {
				synced.Add(1)
				done = sync.OnceFunc(synced.Done)
			}
			g.Go(func() error {
				err := c.watch(ctx, r, done)
				if !errors.Is(err, client.ErrGone) {
					return err
				}
				select {
				case ended <- r:
				case <-ctx.Done():
				}
				return nil
			})
		}
		if first {
			g.Go(func() error { synced.Wait(); ready(); return nil }) // every watch counts down, at the latest when it ends
		}
		select {
		case <-changed:
		case r := <-ended:
			delete(running, r)
		case <-ctx.Done():
			return g.Wait()
		}
	}
}

// learn is the resources that are watched: all that the View carries but events, which have no owners and are many.
func (c *Controller) learn() []object.Resource {
	kinds := map[schema.GroupKind]object.Resource{}
	var out []object.Resource
	for _, r := range c.deps.View.Resources() {
		if r.Kind == "Event" {
			continue
		}
		kinds[schema.GroupKind{Group: r.Group, Kind: r.Kind}] = r
		out = append(out, r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds = kinds
	return out
}

func (c *Controller) watch(ctx context.Context, r client.Resource, synced func()) error {
	defer synced()
	return c.deps.View.Watch(ctx, r, func(e client.Event) {
		if e.Type == client.Synced {
			synced()
			return
		}
		c.note(r, e)
	})
}

// note keeps the graph and wakes what an event may concern.
func (c *Controller) note(r client.Resource, e client.Event) {
	o := e.Object
	it := item{r, object.KeyOf(o), o.GetUID()}
	now, before := o.GetOwnerReferences(), []metav1.OwnerReference(nil)
	if e.Old != nil && e.Old.GetUID() == o.GetUID() {
		before = e.Old.GetOwnerReferences()
	}
	if e.Type == client.Deleted {
		c.graph.set(it, nil, append(slices.Clone(before), now...))
		c.graph.bury(it.uid)
		for _, d := range c.graph.of(it.uid) {
			c.queue.Add(d)
		}
		c.wakeOwners(it, append(slices.Clone(before), now...))
		return
	}
	changed := e.Old == nil || !reflect.DeepEqual(now, before)
	if changed {
		c.graph.set(it, now, before)
		c.wakeOwners(it, before)
	}
	if changed && len(now) > 0 || foreground(o) || orphaning(o) {
		c.queue.Add(it)
	}
}

// wakeOwners wakes the owners of it that wait for their dependents.
func (c *Controller) wakeOwners(it item, refs []metav1.OwnerReference) {
	for _, ref := range refs {
		r, key, ok := c.resolve(it, ref)
		if !ok {
			continue
		}
		if o, ok := c.deps.View.Lookup(r, key); ok && o.GetUID() == ref.UID && foreground(o) {
			c.queue.Add(item{r, key, ref.UID})
		}
	}
}

// resolve says where the object that an owner reference of it names would be. ok is false where it cannot be anywhere.
func (c *Controller) resolve(it item, ref metav1.OwnerReference) (client.Resource, object.Key, bool) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return client.Resource{}, object.Key{}, false
	}
	c.mu.Lock()
	r, ok := c.kinds[schema.GroupKind{Group: gv.Group, Kind: ref.Kind}]
	c.mu.Unlock()
	switch {
	case !ok, r.Namespaced && it.key.Namespace == "":
		return client.Resource{}, object.Key{}, false
	case r.Namespaced:
		return r.GroupVersionResource, object.Key{Namespace: it.key.Namespace, Name: ref.Name}, true
	}
	return r.GroupVersionResource, object.Key{Name: ref.Name}, true
}

func (c *Controller) one(ctx context.Context) bool {
	it, ok := c.queue.Next(ctx)
	if !ok {
		return false
	}
	defer c.queue.Done(it)
	err := c.reconcile(ctx, it)
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil:
		c.queue.Forget(it)
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		c.queue.Retry(it)
	default:
		c.log.Warn("collect", "resource", it.resource.Resource, "ns", it.key.Namespace, "name", it.key.Name, "err", err)
		c.queue.Retry(it)
	}
	return true
}

func (c *Controller) reconcile(ctx context.Context, it item) error {
	o, ok := c.deps.View.Lookup(it.resource, it.key)
	if !ok || o.GetUID() != it.uid {
		return nil
	}
	var changes []control.Change
	switch {
	case orphaning(o):
		changes = planOrphan(o, c.dependents(it))
	case foreground(o):
		deps := c.dependents(it)
		for _, d := range deps {
			if r, ok := c.resource(d); ok && d.GetDeletionTimestamp() == nil {
				c.queue.Add(item{r, object.KeyOf(d), d.GetUID()})
			}
		}
		changes = planForeground(o, deps)
	default:
		owners, err := c.owners(ctx, it, o)
		if err != nil {
			return err
		}
		changes = planItem(o, owners, c.dependents(it))
	}
	for i := range changes {
		if changes[i].Op == control.Delete && len(changes) == 1 {
			changes[i].SameVersion = true // its owners may just have changed
		}
		changes[i].Resource, _ = c.resource(changes[i].Object)
	}
	return control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

// resource is where objects of o's kind are served.
func (c *Controller) resource(o object.Object) (client.Resource, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.kinds[object.KindOf(o).GroupKind()]
	return r.GroupVersionResource, ok
}

// dependents is the objects that name it as an owner, as they are now.
func (c *Controller) dependents(it item) []object.Object {
	var out []object.Object
	for _, d := range c.graph.of(it.uid) {
		if o, ok := c.deps.View.Lookup(d.resource, d.key); ok && o.GetUID() == d.uid && object.OwnedBy(o, it.uid) {
			out = append(out, o)
		}
	}
	return out
}

// owners finds out what became of the owners of o.
func (c *Controller) owners(ctx context.Context, it item, o object.Object) ([]owner, error) {
	var out []owner
	for _, ref := range o.GetOwnerReferences() {
		w := owner{OwnerReference: ref}
		r, key, ok := c.resolve(it, ref)
		if ok {
			found, ok := c.deps.View.Lookup(r, key)
			switch {
			case ok && found.GetUID() == ref.UID && foreground(found):
				w.state = waiting
			case ok && found.GetUID() == ref.UID:
			default:
				gone, err := c.gone(ctx, r, key, ref)
				if err != nil {
					return nil, err
				}
				if gone {
					w.state = absent
				}
			}
		}
		out = append(out, w)
	}
	return out, nil
}

// gone asks the API itself whether an owner that the View does not have is really gone: the View may be behind.
func (c *Controller) gone(ctx context.Context, r client.Resource, key object.Key, ref metav1.OwnerReference) (bool, error) {
	if c.graph.buried(ref.UID) {
		return true, nil
	}
	o, err := c.deps.Client.Get(ctx, client.Target{Resource: r, Key: key})
	switch {
	case apierrors.IsNotFound(err), err == nil && o.GetUID() != ref.UID:
		c.graph.bury(ref.UID)
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look for owner %s %s: %w", ref.Kind, key, err)
	}
	return false, nil
}
