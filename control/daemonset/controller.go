package daemonset

import (
	"context"
	"maps"
	"reflect"
	"sync"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Back-off of failed pods, per node: a kubelet that refuses a pod will refuse the next one too.
const (
	minBackoff = time.Second
	maxBackoff = 15 * time.Minute
)

// Controller is the one of all DaemonSets.
type Controller struct {
	deps      control.Deps
	pods      control.Strays[core.Pod, *core.Pod]
	revisions control.Strays[apps.ControllerRevision, *apps.ControllerRevision]
	lazy      control.Lazy

	mu       sync.Mutex // guards failures
	failures map[object.Key]map[string]failure
}

// failure is the back-off of one DaemonSet on one node.
type failure struct {
	delay time.Duration
	at    time.Time
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, failures: map[object.Key]map[string]failure{}}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "daemonset", View: c.deps.View, Log: c.deps.Logger("daemonset"), Do: c, Workers: 4,
		Sources: []control.Source{
			control.Self[apps.DaemonSet](),
			control.ControlledBy[core.Pod, apps.DaemonSet](),
			control.ControlledBy[apps.ControllerRevision, apps.DaemonSet](),
			c.pods.Source(func(p *core.Pod, wake func(object.Key)) { c.adopters(p, wake) }),
			c.revisions.Source(func(r *apps.ControllerRevision, wake func(object.Key)) { c.adopters(r, wake) }),
			control.On(c.onNode),
		},
	}
	return l.Run(ctx)
}

func (c *Controller) adopters(stray object.Object, wake func(object.Key)) {
	for _, ds := range client.ListOf[apps.DaemonSet](c.deps.View, client.Select{Namespace: stray.GetNamespace()}) {
		if sel, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector); err == nil && !sel.Empty() && sel.Matches(labels.Set(stray.GetLabels())) {
			wake(object.KeyOf(ds))
		}
	}
}

// onNode wakes everything when a node changed in what decides where daemon pods run.
func (c *Controller) onNode(n, old *core.Node, wake func(object.Key)) {
	_, exists := client.Lookup[core.Node](c.deps.View, object.KeyOf(n))
	if exists && old != nil && maps.Equal(old.Labels, n.Labels) && reflect.DeepEqual(old.Spec.Taints, n.Spec.Taints) {
		return
	}
	for _, ds := range client.ListOf[apps.DaemonSet](c.deps.View, client.Select{}) {
		wake(object.KeyOf(ds))
	}
}

// backoff is how long to wait before another failed pod of ds is deleted on a node. Once it is over, the next wait is twice as long.
func (c *Controller) backoff(key object.Key, node string, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.failures[key][node]
	if now.Sub(f.at) > 2*maxBackoff {
		f = failure{}
	}
	if wait := f.at.Add(f.delay).Sub(now); wait > 0 {
		return wait
	}
	if c.failures[key] == nil {
		c.failures[key] = map[string]failure{}
	}
	c.failures[key][node] = failure{delay: min(max(minBackoff, 2*f.delay), maxBackoff), at: now}
	return 0
}

// Reconcile makes one DaemonSet have the pods that its nodes should run.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	v := c.deps.View
	ds, ok := client.Lookup[apps.DaemonSet](v, key)
	if !ok {
		c.mu.Lock()
		delete(c.failures, key)
		c.mu.Unlock()
		c.lazy.Drop(key)
		return control.Done, nil // deleted: ownergc removes the pods
	}
	sel, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
	if err != nil {
		return control.Done, err
	}
	if sel.Empty() {
		c.deps.Events.Event(ds, core.EventTypeWarning, "SelectingAll",
			"This daemon set is selecting all pods. A non-empty selector is required.")
		return control.Done, nil
	}
	pods := client.Owned[core.Pod](v, ds)
	for _, p := range c.pods.In(v, ds.Namespace) {
		if control.Active(p) && !object.OwnedBy(p, ds.UID) {
			pods = append(pods, p)
		}
	}
	mine := control.Claim(ds, sel, pods)
	revisions := control.Claim(ds, sel, append(client.Owned[apps.ControllerRevision](v, ds), c.revisions.In(v, ds.Namespace)...))
	if adopt := append(mine.Changes, revisions.Changes...); len(adopt) > 0 {
		return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, adopt)
	}
	now := time.Now()
	changes, status, again, err := plan(state{
		ds: ds, pods: mine.Mine, nodes: client.ListOf[core.Node](v, client.Select{}), revisions: revisions.Mine,
		revision: func(name string) (*apps.ControllerRevision, bool) {
			return client.Lookup[apps.ControllerRevision](v, object.Key{Namespace: ds.Namespace, Name: name})
		},
		backoff: func(node string) time.Duration { return c.backoff(key, node, now) },
	}, now)
	if err != nil {
		return control.Done, err
	}
	if reflect.DeepEqual(status, ds.Status) {
		c.lazy.Drop(key)
	} else if hold, wait := c.hold(ds, status, now); hold {
		again = again.Sooner(wait)
	} else {
		n := object.Clone(ds)
		n.Status = status
		// The status tells of the pods there are, and pods may be refused, so it goes first.
		changes = append([]control.Change{{Op: control.Status, Object: n}}, changes...)
	}
	return again, control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

// hold says whether a status is only a step on the way and may wait.
func (c *Controller) hold(ds *apps.DaemonSet, st apps.DaemonSetStatus, now time.Time) (bool, control.Again) {
	key := object.KeyOf(ds)
	complete := st.NumberUnavailable == 0 && st.UpdatedNumberScheduled == st.DesiredNumberScheduled && st.NumberMisscheduled == 0
	if complete || st.NumberAvailable < ds.Status.NumberAvailable || !reflect.DeepEqual(st.CollisionCount, ds.Status.CollisionCount) {
		c.lazy.Drop(key)
		return false, control.Done
	}
	return c.lazy.Hold(key, now)
}
