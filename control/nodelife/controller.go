package nodelife

import (
	"context"
	"sync"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Controller is the one of all nodes' lives.
type Controller struct {
	deps control.Deps

	mu   sync.Mutex // guards seen
	seen map[string]time.Time
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, seen: map[string]time.Time{}}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.mu.Lock()
	clear(c.seen) // whoever led before, we have seen nothing yet
	c.mu.Unlock()
	nodes := control.Loop{
		Name: "nodelife", View: c.deps.View, Log: c.deps.Logger("nodelife"), Do: health{c}, Workers: 4,
		Sources: []control.Source{
			{Resource: object.ResourceOf[core.Node](), Keys: c.onNode},
			{Resource: object.ResourceOf[coordination.Lease](), Keys: c.onLease},
		},
	}
	pods := control.Loop{
		Name: "tainteviction", View: c.deps.View, Log: c.deps.Logger("tainteviction"), Do: eviction{c}, Workers: 4,
		Sources: []control.Source{
			control.On(c.tainted),
			control.On(c.onPod),
		},
	}
	return run.All(ctx, run.Component{Name: "health", Run: nodes.Run}, run.Component{Name: "eviction", Run: pods.Run})
}

// sign notes a sign of life.
func (c *Controller) sign(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[node] = time.Now()
}

func (c *Controller) lastSign(node string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.seen[node]
	if !ok {
		at = time.Now()
		c.seen[node] = at
	}
	return at
}

func (c *Controller) onNode(e client.Event, wake func(object.Key)) {
	n := e.Object.(*core.Node)
	if e.Type == client.Deleted {
		c.mu.Lock()
		delete(c.seen, n.Name)
		c.mu.Unlock()
		return
	}
	old, _ := e.Old.(*core.Node)
	now, before := condition(n, core.NodeReady), (*core.NodeCondition)(nil)
	if old != nil {
		before = condition(old, core.NodeReady)
	}
	if now != nil && (before == nil || !now.LastHeartbeatTime.Equal(&before.LastHeartbeatTime)) {
		c.sign(n.Name)
	}
	wake(object.KeyOf(n))
	if old == nil || control.NodeReady(old) != control.NodeReady(n) {
		c.wakeBad(n, wake)
	}
}

// wakeBad wakes the other bad nodes: whether pods may be driven off them depends on how many are bad.
func (c *Controller) wakeBad(changed *core.Node, wake func(object.Key)) {
	for _, n := range client.ListOf[core.Node](c.deps.View, client.Select{}) {
		if n.Name != changed.Name && control.NodeReady(n) != core.ConditionTrue {
			wake(object.KeyOf(n))
		}
	}
}

// onLease notes that a node renewed its lease. That alone wakes nobody: the timer of the node finds it.
func (c *Controller) onLease(e client.Event, _ func(object.Key)) {
	if e.Object.GetNamespace() != core.NamespaceNodeLease || e.Type == client.Deleted {
		return
	}
	l := e.Object.(*coordination.Lease)
	if old, ok := e.Old.(*coordination.Lease); ok && old.Spec.RenewTime.Equal(l.Spec.RenewTime) {
		return
	}
	c.sign(l.Name)
}

// health reconciles nodes.
type health struct{ c *Controller }

// Reconcile makes a node's conditions, taints and pods show whether it lives.
func (h health) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d := h.c.deps
	n, ok := client.Lookup[core.Node](d.View, key)
	if !ok {
		return control.Done, nil
	}
	now := time.Now()
	next, again := planHealth(n, h.c.lastSign(n.Name), now)
	if next != nil {
		d.Events.Event(n, core.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", n.Name)
		return control.Done, control.Apply(ctx, d.Client, d.Events, []control.Change{{Op: control.Status, Object: next}})
	}
	evict := mayEvict(client.ListOf[core.Node](d.View, client.Select{}), func(name string) bool {
		return now.Sub(h.c.lastSign(name)) > silence
	})
	if c := condition(n, core.NodeReady); c != nil && c.Status != core.ConditionTrue && !evict[zoneOf(n)] {
		again = again.Sooner(control.Again(silence)) // the silent may speak again, which wakes nobody
	}
	if next := planTaints(n, evict[zoneOf(n)], now); next != nil {
		return again, control.Apply(ctx, d.Client, d.Events, []control.Change{{Op: control.Update, Object: next}})
	}
	if c := condition(n, core.NodeReady); c == nil || c.Status == core.ConditionTrue {
		return again, nil
	}
	var changes []control.Change
	for _, p := range client.ListOf[core.Pod](d.View, client.Select{Node: n.Name}) {
		if np := notReady(p, now); np != nil {
			changes = append(changes, control.Change{Op: control.Status, Object: np, Said: control.Note{
				On: p, Type: core.EventTypeWarning, Reason: "NodeNotReady", Format: "Node is not ready",
			}})
		}
	}
	return again, control.Apply(ctx, d.Client, d.Events, changes)
}

// eviction reconciles pods on tainted nodes.
type eviction struct{ c *Controller }

func noExecute(n *core.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Effect == core.TaintEffectNoExecute {
			return true
		}
	}
	return false
}

// tainted wakes the pods of a node that has NoExecute taints.
func (c *Controller) tainted(n, old *core.Node, wake func(object.Key)) {
	if !noExecute(n) || old != nil && sameTaints(n, old) {
		return
	}
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Node: n.Name}) {
		wake(object.KeyOf(p))
	}
}

func sameTaints(a, b *core.Node) bool {
	if len(a.Spec.Taints) != len(b.Spec.Taints) {
		return false
	}
	for i := range a.Spec.Taints {
		if !a.Spec.Taints[i].MatchTaint(&b.Spec.Taints[i]) || a.Spec.Taints[i].Value != b.Spec.Taints[i].Value {
			return false
		}
	}
	return true
}

// onPod wakes a pod that came to a node, or changed what it tolerates there.
func (c *Controller) onPod(p, old *core.Pod, wake func(object.Key)) {
	if p.Spec.NodeName == "" || old != nil && old.Spec.NodeName == p.Spec.NodeName && len(old.Spec.Tolerations) == len(p.Spec.Tolerations) {
		return
	}
	if n, ok := client.Lookup[core.Node](c.deps.View, object.Key{Name: p.Spec.NodeName}); ok && noExecute(n) {
		wake(object.KeyOf(p))
	}
}

// Reconcile deletes a pod whose node has a NoExecute taint that it does not tolerate, or no longer.
func (e eviction) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d := e.c.deps
	p, ok := client.Lookup[core.Pod](d.View, key)
	if !ok {
		return control.Done, nil
	}
	n, ok := client.Lookup[core.Node](d.View, object.Key{Name: p.Spec.NodeName})
	if !ok {
		return control.Done, nil // podgc's
	}
	changes, again := planEvict(p, n, time.Now())
	return again, control.Apply(ctx, d.Client, d.Events, changes)
}
