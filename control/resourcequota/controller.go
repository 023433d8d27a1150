package resourcequota

import (
	"context"
	"errors"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kinds/core/quota"
	"proa.dev/kit/run"
	"proa.dev/object"
)

const (
	rest   = 2 * time.Second        // without a change by others, after which a quota is counted
	longer = 5 * time.Minute        // after which it is counted although it never rests
	lag    = 100 * time.Millisecond // by which an event may come after what the View shows
)

// Controller is the one of all quotas.
type Controller struct {
	deps control.Deps
	loop *control.Loop
	want chan object.Resource // to be watched
	lazy control.Lazy

	mu       sync.Mutex // guards all below
	states   map[object.Key]*state
	watched  map[client.Resource]bool
	counters map[schema.GroupResource]*quota.Counter
}

// state is what is known of one quota beyond what it says itself.
type state struct {
	freed   core.ResourceList // what has gone and has not been taken off yet
	wrote   core.ResourceList // what was last written here
	heard   string            // resourceVersion of the quota when it was last heard of
	moved   time.Time         // when somebody else last changed what is used
	counted time.Time         // when it was last counted
	events  int               // things that happened to it or its objects
	done    int               // events when it was last counted
	lapse   time.Time         // when a pod that was counted counts no more, zero: none does
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	c := &Controller{deps: d, want: make(chan object.Resource), states: map[object.Key]*state{}, watched: map[client.Resource]bool{},
		counters: map[schema.GroupResource]*quota.Counter{}}
	c.loop = &control.Loop{
		Name: "resourcequota", View: d.View, Log: d.Logger("resourcequota"), Do: c, Workers: 4,
		Sources: []control.Source{{Resource: object.ResourceOf[core.ResourceQuota](), Keys: c.onQuota}},
	}
	return c, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if r, ok := c.definitions(); ok {
		c.loop.Sources = append(c.loop.Sources, control.Source{Resource: r, Keys: c.onDefinition})
	}
	return run.All(ctx, run.Component{Name: "loop", Run: c.loop.Run}, run.Component{Name: "watches", Run: c.watches})
}

// definitions is the resource of custom resource definitions, if the View has it.
func (c *Controller) definitions() (client.Resource, bool) {
	for _, r := range c.deps.View.Resources() {
		if r.Group == "apiextensions.k8s.io" && r.Kind == "CustomResourceDefinition" {
			return r.GroupVersionResource, true
		}
	}
	return client.Resource{}, false
}

// onDefinition wakes all quotas: a name that counted nothing may count now. There are few of both.
func (c *Controller) onDefinition(_ client.Event, wake func(object.Key)) {
	for _, q := range client.ListOf[core.ResourceQuota](c.deps.View, client.Select{}) {
		c.with(object.KeyOf(q), func(s *state) {
			s.moved = time.Now()
			s.events++
		})
		wake(object.KeyOf(q))
	}
}

// with calls fn with the state of a quota, under the lock.
func (c *Controller) with(key object.Key, fn func(*state)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.states[key]
	if s == nil {
		s = &state{}
		c.states[key] = s
	}
	fn(s)
}

func (c *Controller) onQuota(e client.Event, wake func(object.Key)) {
	q, key := e.Object.(*core.ResourceQuota), object.KeyOf(e.Object)
	if e.Type == client.Deleted {
		c.mu.Lock()
		delete(c.states, key)
		c.mu.Unlock()
		return
	}
	old, _ := e.Old.(*core.ResourceQuota)
	c.with(key, func(s *state) {
		if old == nil || !quota.Equal(old.Status.Used, q.Status.Used) && !quota.Equal(s.wrote, q.Status.Used) {
			s.moved = time.Now()
		}
		s.heard = q.ResourceVersion
		s.events++
	})
	wake(key)
}

// Reconcile brings the status of one quota up to date.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	q, ok := client.Lookup[core.ResourceQuota](c.deps.View, key)
	if !ok {
		c.lazy.Drop(key)
		return control.Done, nil
	}
	all := c.countersOf(q.Spec.Hard)
	for _, r := range all {
		if err := c.watch(ctx, r.Resource); err != nil {
			return control.Done, err
		}
	}
	now := time.Now()
	in := input{quota: q, counters: all, now: now}
	c.with(key, func(s *state) {
		in.atRest = s.heard == q.ResourceVersion && now.Sub(s.moved) >= rest || now.Sub(s.counted) >= longer && !s.counted.IsZero()
		in.again = control.Until(s.moved.Add(rest), now)
		in.freed, in.events, in.idle = s.freed, s.events, s.events == s.done && (s.lapse.IsZero() || now.Before(s.lapse))
	})
	out := plan(in, func(r client.Resource) []object.Object {
		return c.deps.View.List(r, client.Select{Namespace: key.Namespace})
	})
	if out.status == nil {
		c.lazy.Drop(key)
		c.settled(key, in, out)
		return out.again, nil
	}
	if out.gradual {
		if hold, wait := c.lazy.Hold(key, now); hold {
			return out.again.Sooner(wait), nil
		}
	}
	n := object.Clone(q)
	n.Status = *out.status
	c.with(key, func(s *state) { s.wrote = n.Status.Used })
	if err := control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Status, Object: n}}); err != nil {
		if apierrors.IsConflict(err) {
			c.with(key, func(s *state) { s.moved = time.Now() })
		}
		return control.Done, err
	}
	c.settled(key, in, out)
	return out.again, nil
}

// settled notes that what the plan took into account is dealt with.
func (c *Controller) settled(key object.Key, in input, out output) {
	c.with(key, func(s *state) {
		s.freed = quota.More(s.freed, in.freed)
		if out.counted { // what has been heard of since may be in the count or not: count again
			s.counted, s.done, s.freed, s.lapse = in.now, in.events, nil, out.lapse
		}
	})
}

// countersOf is the resources that names in hard count.
func (c *Controller) countersOf(hard core.ResourceList) (out []counted) {
	for _, r := range c.deps.View.Resources() {
		if !r.Namespaced || quota.Ignored(r.GroupResource()) {
			continue
		}
		if counter := c.counter(r.GroupResource()); len(counter.Names(hard)) > 0 {
			out = append(out, counted{r, counter})
		}
	}
	return out
}

func (c *Controller) counter(r schema.GroupResource) *quota.Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counters[r] == nil {
		c.counters[r] = quota.For(r)
	}
	return c.counters[r]
}

// watch makes sure that a resource is watched.
func (c *Controller) watch(ctx context.Context, r object.Resource) error {
	c.mu.Lock()
	have := c.watched[r.GroupVersionResource]
	c.watched[r.GroupVersionResource] = true
	c.mu.Unlock()
	if have {
		return nil
	}
	select {
	case c.want <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watches runs the watches that are asked for, and ends with ctx. A resource that is served no more is forgotten.
func (c *Controller) watches(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case r := <-c.want:
			wg.Go(func() {
				err := c.follow(ctx, r)
				c.mu.Lock()
				delete(c.watched, r.GroupVersionResource)
				c.mu.Unlock()
				if err != nil && !errors.Is(err, ctx.Err()) {
					c.deps.Logger("resourcequota").Info("watch ended", "kind", r.Kind, "err", err)
				}
			})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow takes note of what happens to the objects of one resource.
func (c *Controller) follow(ctx context.Context, r object.Resource) error {
	counter, live := c.counter(r.GroupResource()), false
	return c.deps.View.Watch(ctx, r.GroupVersionResource, func(e client.Event) {
		if e.Type == client.Synced {
			live = true
		} else if live { // what there was before is counted when its quota is
			c.onObject(counter, e)
		}
	})
}

// onObject notes what an object has given up, in the quotas that it was counted in.
func (c *Controller) onObject(counter *quota.Counter, e client.Event) {
	now := time.Now()
	for _, q := range client.ListOf[core.ResourceQuota](c.deps.View, client.Select{Namespace: e.Object.GetNamespace()}) {
		names := counter.Names(q.Spec.Hard)
		if len(names) == 0 {
			continue
		}
		ch := changeOf(counter, q, e, now)
		if !ch.any {
			continue
		}
		freed := quota.Mask(ch.freed, names)
		c.with(object.KeyOf(q), func(s *state) {
			s.events++
			if len(freed) > 0 && now.Sub(s.counted) > lag {
				s.freed = quota.Add(s.freed, freed)
			}
		})
		c.loop.Add(object.KeyOf(q))
	}
}
