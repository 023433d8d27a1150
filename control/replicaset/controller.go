package replicaset

import (
	"context"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Controller is the one of all ReplicaSets and ReplicationControllers.
type Controller struct {
	deps   control.Deps
	strays control.Strays[core.Pod, *core.Pod]
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{deps: d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	sets := control.Loop{
		Name: "replicaset", View: c.deps.View, Log: c.deps.Logger("replicaset"), Workers: 4,
		Do: &one{c: c, kind: replicaSets},
		Sources: []control.Source{
			control.Self[apps.ReplicaSet](),
			control.ControlledBy[core.Pod, apps.ReplicaSet](),
			c.strays.Source(c.adopters(replicaSets)),
		},
	}
	controllers := control.Loop{
		Name: "replicationcontroller", View: c.deps.View, Log: c.deps.Logger("replicationcontroller"), Workers: 2,
		Do: &one{c: c, kind: replicationControllers},
		Sources: []control.Source{
			control.Self[core.ReplicationController](),
			control.ControlledBy[core.Pod, core.ReplicationController](),
			c.strays.Source(c.adopters(replicationControllers)),
		},
	}
	return run.All(ctx,
		run.Component{Name: "replicasets", Run: sets.Run},
		run.Component{Name: "replicationcontrollers", Run: controllers.Run})
}

// kind reads sets of one kind from a View.
type kind struct {
	lookup func(v client.View, key object.Key) (set, bool, error)
	list   func(v client.View, namespace string) []set
}

var replicaSets = kind{
	lookup: func(v client.View, key object.Key) (set, bool, error) {
		rs, ok := client.Lookup[apps.ReplicaSet](v, key)
		if !ok {
			return set{}, false, nil
		}
		s, err := fromReplicaSet(rs)
		return s, true, err
	},
	list: func(v client.View, namespace string) []set { return listed(v, namespace, fromReplicaSet) },
}

var replicationControllers = kind{
	lookup: func(v client.View, key object.Key) (set, bool, error) {
		rc, ok := client.Lookup[core.ReplicationController](v, key)
		if !ok {
			return set{}, false, nil
		}
		s, err := fromController(rc)
		return s, true, err
	},
	list: func(v client.View, namespace string) []set { return listed(v, namespace, fromController) },
}

func listed[T any, P object.Ptr[T]](v client.View, namespace string, from func(P) (set, error)) []set {
	var out []set
	for _, o := range client.ListOf[T, P](v, client.Select{Namespace: namespace}) {
		if s, err := from(o); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// adopters wakes the sets that may adopt a stray pod.
func (c *Controller) adopters(k kind) func(*core.Pod, func(object.Key)) {
	return func(p *core.Pod, wake func(object.Key)) {
		for _, s := range k.list(c.deps.View, p.Namespace) {
			if s.selector.Matches(labels.Set(p.Labels)) {
				wake(object.KeyOf(s.object))
			}
		}
	}
}

// one reconciles the sets of one kind.
type one struct {
	c    *Controller
	kind kind
	lazy control.Lazy
}

// Reconcile makes the live pods of one set as many as spec.replicas says.
func (r *one) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d := r.c.deps
	s, ok, err := r.kind.lookup(d.View, key)
	if !ok || err != nil {
		r.lazy.Drop(key)
		return control.Done, err // deleted: ownergc removes the pods
	}
	mine, _, adopt := r.pods(s)
	if len(adopt) > 0 {
		return control.Done, control.Apply(ctx, d.Client, d.Events, adopt) // what it changes wakes us again
	}
	var related []*core.Pod
	if len(mine) > int(s.replicas) {
		related = r.related(s)
	}
	changes := planPods(s, mine, related)
	failed := control.Apply(ctx, d.Client, d.Events, changes)
	if ctx.Err() != nil {
		return control.Done, ctx.Err()
	}
	mine, terminating, _ := r.pods(s)
	now := time.Now()
	st, again := planStatus(s, mine, terminating, failed, now)
	if st == nil {
		r.lazy.Drop(key)
		return again, failed
	}
	if !urgent(s, st) {
		if hold, wait := r.lazy.Hold(key, now); hold {
			return again.Sooner(wait), failed
		}
	}
	r.lazy.Drop(key)
	err = control.Apply(ctx, d.Client, d.Events, []control.Change{{Op: control.Status, Object: s.withStatus(*st)}})
	if failed != nil {
		err = failed
	}
	return again, err
}

// pods is the active pods of s, those of them that are going away, and what has to be adopted or released first.
func (r *one) pods(s set) (mine, terminating []*core.Pod, adopt []control.Change) {
	v := r.c.deps.View
	var candidates []*core.Pod
	for _, p := range client.Owned[core.Pod](v, s.object) {
		switch {
		case control.Active(p):
			candidates = append(candidates, p)
		case p.DeletionTimestamp != nil && !control.Finished(p) && control.Controls(s.object, p) && s.selector.Matches(labels.Set(p.Labels)):
			terminating = append(terminating, p)
		}
	}
	for _, p := range r.c.strays.In(v, s.object.GetNamespace()) {
		if control.Active(p) && metav1.GetControllerOfNoCopy(p) == nil && !object.OwnedBy(p, s.object.GetUID()) {
			candidates = append(candidates, p)
		}
	}
	claims := control.Claim(s.object, s.selector, candidates)
	return claims.Mine, terminating, claims.Changes
}

// related is the pods of all sets that have the same controller as s: of the other ReplicaSets of its Deployment.
func (r *one) related(s set) []*core.Pod {
	v := r.c.deps.View
	ref := metav1.GetControllerOfNoCopy(s.object)
	if ref == nil {
		return client.Owned[core.Pod](v, s.object)
	}
	var out []*core.Pod
	for _, sibling := range client.ListOf[apps.ReplicaSet](v, client.Select{Namespace: s.object.GetNamespace(), Owner: ref.UID}) {
		out = append(out, client.Owned[core.Pod](v, sibling)...)
	}
	return out
}
