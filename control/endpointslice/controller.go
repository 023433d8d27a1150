//lint:file-ignore SA1019 Endpoints are deprecated, but clients still read them: they are served and kept.

package endpointslice

import (
	"context"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// pace is the least time between two writes for one Service: the first change goes out at once, a storm of them in steps.
const pace = 20 * time.Millisecond

// Controller is the one of all EndpointSlices and Endpoints.
type Controller struct {
	deps      control.Deps
	pods      control.LabelIndex[core.Pod, *core.Pod]
	slices    control.LabelIndex[discovery.EndpointSlice, *discovery.EndpointSlice]
	selectors control.SelectorIndex
	pace      control.Pace

	mu   sync.Mutex // guards gone
	gone map[object.Key]bool
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, pace: control.Pace{Interval: pace}, gone: map[object.Key]bool{}}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "endpointslice", View: c.deps.View, Log: c.deps.Logger("endpointslice"), Do: c, Workers: 4,
		Sources: []control.Source{
			{Resource: object.ResourceOf[core.Service](), Keys: c.onService},
			{Resource: object.ResourceOf[core.Pod](), Keys: c.onPod},
			{Resource: object.ResourceOf[discovery.EndpointSlice](), Keys: c.onSlice},
			control.Self[core.Endpoints](),
			control.On(c.onNode),
		},
	}
	return l.Run(ctx)
}

func (c *Controller) onService(e client.Event, wake func(object.Key)) {
	svc, key := e.Object.(*core.Service), object.KeyOf(e.Object)
	var now, before map[string]string
	if e.Type != client.Deleted {
		now = svc.Spec.Selector
	}
	if old, ok := e.Old.(*core.Service); ok {
		before = old.Spec.Selector
	}
	c.selectors.Set(key, now, before)
	c.mu.Lock()
	if e.Type == client.Deleted {
		c.gone[key] = true
	} else {
		delete(c.gone, key)
	}
	c.mu.Unlock()
	wake(key)
}

// onPod wakes the Services that select a pod or did so before, if anything changed that a slice shows.
func (c *Controller) onPod(e client.Event, wake func(object.Key)) {
	c.pods.Keep(e)
	p := e.Object.(*core.Pod)
	old, _ := e.Old.(*core.Pod)
	if old != nil && e.Type == client.Modified && !shows(old, p) {
		return
	}
	c.selectors.Selecting(p.Namespace, p.Labels, wake)
	if old != nil {
		c.selectors.Selecting(p.Namespace, old.Labels, wake)
	}
}

func (c *Controller) onSlice(e client.Event, wake func(object.Key)) {
	c.slices.Keep(e)
	if name := e.Object.GetLabels()[discovery.LabelServiceName]; name != "" {
		wake(object.Key{Namespace: e.Object.GetNamespace(), Name: name})
	}
}

// onNode wakes the Services of the pods of a node that came to be in another zone.
func (c *Controller) onNode(n, old *core.Node, wake func(object.Key)) {
	if old == nil || old.Labels[core.LabelTopologyZone] == n.Labels[core.LabelTopologyZone] {
		return
	}
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Node: n.Name}) {
		c.selectors.Selecting(p.Namespace, p.Labels, wake)
	}
}

// Reconcile makes the slices and the Endpoints of one Service say which pods stand behind it.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	now := time.Now()
	if wait := c.pace.Wait(key, now); wait != control.Done {
		return wait, nil
	}
	changes := c.plan(key)
	if len(changes) == 0 {
		return control.Done, nil
	}
	c.pace.Note(key, now)
	return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

func (c *Controller) plan(key object.Key) []control.Change {
	v := c.deps.View
	svc, ok := client.Lookup[core.Service](v, key)
	endpoints, _ := client.Lookup[core.Endpoints](v, key)
	ours, mirrors := c.existing(key)
	switch {
	case !ok:
		return c.left(key, endpoints, mirrors)
	case svc.DeletionTimestamp != nil || svc.Spec.Type == core.ServiceTypeExternalName:
		return nil
	case svc.Spec.Selector == nil:
		if endpoints != nil && !mirrored(endpoints) {
			endpoints = nil
		}
		return planMirror(endpoints, mirrors)
	}
	ms := members(svc, c.pods.Find(v, svc.Namespace, svc.Spec.Selector), func(node string) string {
		if n, ok := client.Lookup[core.Node](v, object.Key{Name: node}); ok {
			return n.Labels[core.LabelTopologyZone]
		}
		return ""
	})
	changes := planSlices(serviceTemplate(svc), grouped(svc, ms), ours)
	changes = append(changes, planMirror(nil, mirrors)...)
	return append(changes, planEndpoints(svc, ms, endpoints)...)
}

// left is what to remove after a Service: its Endpoints, whoever wrote them, if it was there while we watched, else only if they are
// ours. Slices belong to their owners, so ownergc removes them.
func (c *Controller) left(key object.Key, e *core.Endpoints, mirrors []*discovery.EndpointSlice) []control.Change {
	changes := planMirror(nil, mirrors)
	c.mu.Lock()
	gone := c.gone[key]
	delete(c.gone, key)
	c.mu.Unlock()
	if e != nil && e.DeletionTimestamp == nil && (gone || e.Labels[endpointsManagedBy] == endpointsController) {
		changes = append(changes, control.Change{Op: control.Delete, Object: e})
	}
	return changes
}

// existing is the slices of a Service that this controller keeps, not counting those that are being deleted.
func (c *Controller) existing(key object.Key) (ours, mirrors []*discovery.EndpointSlice) {
	for _, s := range c.slices.Find(c.deps.View, key.Namespace, map[string]string{discovery.LabelServiceName: key.Name}) {
		switch {
		case s.DeletionTimestamp != nil:
		case s.Labels[discovery.LabelManagedBy] == ManagedBy:
			ours = append(ours, s)
		case s.Labels[discovery.LabelManagedBy] == MirrorManagedBy:
			mirrors = append(mirrors, s)
		}
	}
	byName(ours)
	byName(mirrors)
	return ours, mirrors
}
