package statefulset

import (
	"context"
	"reflect"
	"strings"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of all StatefulSets.
type Controller struct {
	deps      control.Deps
	pods      control.Strays[core.Pod, *core.Pod]
	revisions control.Strays[apps.ControllerRevision, *apps.ControllerRevision]
	lazy      control.Lazy
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{deps: d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "statefulset", View: c.deps.View, Log: c.deps.Logger("statefulset"), Do: c, Workers: 4,
		Sources: []control.Source{
			control.Self[apps.StatefulSet](),
			control.ControlledBy[core.Pod, apps.StatefulSet](),
			control.ControlledBy[apps.ControllerRevision, apps.StatefulSet](),
			c.pods.Source(func(p *core.Pod, wake func(object.Key)) { c.adopters(p, wake) }),
			c.revisions.Source(func(r *apps.ControllerRevision, wake func(object.Key)) { c.adopters(r, wake) }),
			{Resource: object.ResourceOf[core.PersistentVolumeClaim](), Keys: c.onClaim},
		},
	}
	return l.Run(ctx)
}

func (c *Controller) adopters(stray object.Object, wake func(object.Key)) {
	for _, set := range client.ListOf[apps.StatefulSet](c.deps.View, client.Select{Namespace: stray.GetNamespace()}) {
		if sel, err := metav1.LabelSelectorAsSelector(set.Spec.Selector); err == nil && sel.Matches(labels.Set(stray.GetLabels())) {
			wake(object.KeyOf(set))
		}
	}
}

// onClaim wakes the sets that may wait for the end of a claim.
func (c *Controller) onClaim(e client.Event, wake func(object.Key)) {
	if e.Type != client.Deleted {
		return
	}
	for _, set := range client.ListOf[apps.StatefulSet](c.deps.View, client.Select{Namespace: e.Object.GetNamespace()}) {
		for i := range set.Spec.VolumeClaimTemplates {
			if strings.HasPrefix(e.Object.GetName(), set.Spec.VolumeClaimTemplates[i].Name+"-"+set.Name+"-") {
				wake(object.KeyOf(set))
			}
		}
	}
}

// Reconcile takes one StatefulSet a step further towards its template and size.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	v := c.deps.View
	set, ok := client.Lookup[apps.StatefulSet](v, key)
	if !ok {
		return control.Done, nil // deleted: ownergc removes the pods
	}
	sel, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return control.Done, err
	}
	pods := client.Owned[core.Pod](v, set)
	for _, p := range c.pods.In(v, set.Namespace) {
		if ordinalOf(set, p) >= 0 && control.Active(p) && !object.OwnedBy(p, set.UID) {
			pods = append(pods, p)
		}
	}
	mine := control.Claim(set, sel, pods)
	revisions := control.Claim(set, sel, append(client.Owned[apps.ControllerRevision](v, set), c.revisions.In(v, set.Namespace)...))
	if adopt := append(mine.Changes, revisions.Changes...); len(adopt) > 0 {
		return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, adopt)
	}
	s := state{set: set, revisions: revisions.Mine}
	for _, p := range mine.Mine {
		if ordinalOf(set, p) >= 0 {
			s.pods = append(s.pods, p)
		}
	}
	s.revision = func(name string) (*apps.ControllerRevision, bool) {
		return client.Lookup[apps.ControllerRevision](v, object.Key{Namespace: set.Namespace, Name: name})
	}
	s.claim = func(name string) (*core.PersistentVolumeClaim, bool) {
		return client.Lookup[core.PersistentVolumeClaim](v, object.Key{Namespace: set.Namespace, Name: name})
	}
	changes, status, again, err := plan(s, time.Now())
	if err != nil {
		return control.Done, err
	}
	if reflect.DeepEqual(status, set.Status) {
		c.lazy.Drop(key)
	} else if hold, wait := c.hold(set, status); hold {
		again = again.Sooner(wait)
	} else {
		n := object.Clone(set)
		n.Status = status
		changes = append(changes, control.Change{Op: control.Status, Object: n})
	}
	return again, control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

// hold says whether a status is only a step on the way and may wait.
func (c *Controller) hold(set *apps.StatefulSet, st apps.StatefulSetStatus) (bool, control.Again) {
	key, n := object.KeyOf(set), control.Or(set.Spec.Replicas, 1)
	if st.Replicas == n && st.AvailableReplicas == n || st.AvailableReplicas < set.Status.AvailableReplicas ||
		!reflect.DeepEqual(st.CollisionCount, set.Status.CollisionCount) && control.Or(st.CollisionCount, 0) > 0 {
		c.lazy.Drop(key)
		return false, control.Done
	}
	return c.lazy.Hold(key, time.Now())
}
