package podgc

import (
	"context"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of all pods that are left over.
type Controller struct {
	deps control.Deps

	mu       sync.Mutex // guards all below
	missing  map[string]time.Time
	finished map[object.Key]bool
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, missing: map[string]time.Time{}, finished: map[object.Key]bool{}}, nil
}

// all is the key under which the number of finished pods is looked at: no pod has it.
var all = object.Key{}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "podgc", View: c.deps.View, Log: c.deps.Logger("podgc"), Do: c, Workers: 4,
		Sources: []control.Source{
			{Resource: object.ResourceOf[core.Node](), Keys: c.onNode},
			{Resource: object.ResourceOf[core.Pod](), Keys: c.onPod},
		},
	}
	return l.Run(ctx)
}

func (c *Controller) onPod(e client.Event, wake func(object.Key)) {
	p, key := e.Object.(*core.Pod), object.KeyOf(e.Object)
	c.mu.Lock()
	if control.Finished(p) && e.Type != client.Deleted {
		c.finished[key] = true
	} else {
		delete(c.finished, key)
	}
	tooMany := len(c.finished) > maxFinished
	c.mu.Unlock()
	if tooMany {
		wake(all)
	}
	// A pod on a node that is there is the kubelet's, unless the node is out of service: onNode sees to that.
	if e.Type != client.Deleted && (p.DeletionTimestamp != nil || e.Old == nil || e.Old.(*core.Pod).Spec.NodeName != p.Spec.NodeName) {
		wake(key)
	}
}

// onNode wakes the pods of a node that went away or is out of service.
func (c *Controller) onNode(e client.Event, wake func(object.Key)) {
	n := e.Object.(*core.Node)
	c.mu.Lock()
	delete(c.missing, n.Name)
	c.mu.Unlock()
	if e.Type != client.Deleted && !outOfService(n) {
		return
	}
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Node: n.Name}) {
		wake(object.KeyOf(p))
	}
}

// Reconcile deletes one pod if nobody else will.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	now := time.Now()
	if key == all {
		return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, surplus(c.allFinished(), maxFinished, now))
	}
	p, ok := client.Lookup[core.Pod](c.deps.View, key)
	if !ok {
		return control.Done, nil
	}
	node, ok := client.Lookup[core.Node](c.deps.View, object.Key{Name: p.Spec.NodeName})
	var since time.Time
	sure := false
	if !ok && p.Spec.NodeName != "" {
		if since = c.since(p.Spec.NodeName, now); now.Sub(since) >= quarantine {
			_, err := client.Get[core.Node](ctx, c.deps.Client, object.Key{Name: p.Spec.NodeName})
			if err != nil && !apierrors.IsNotFound(err) {
				return control.Done, err
			}
			sure = err != nil
		}
	}
	changes, again := planPod(p, node, since, sure, now)
	return again, control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

// since is when a node was first found missing.
func (c *Controller) since(node string, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.missing[node]; ok {
		return at
	}
	c.missing[node] = now
	return now
}

func (c *Controller) allFinished() []*core.Pod {
	c.mu.Lock()
	keys := make([]object.Key, 0, len(c.finished))
	for k := range c.finished {
		keys = append(keys, k)
	}
	c.mu.Unlock()
	var out []*core.Pod
	for _, k := range keys {
		if p, ok := client.Lookup[core.Pod](c.deps.View, k); ok && control.Finished(p) {
			out = append(out, p)
		}
	}
	return out
}
