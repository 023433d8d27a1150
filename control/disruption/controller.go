package disruption

import (
	"context"
	"fmt"
	"time"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Controller is the one of all budgets.
type Controller struct {
	deps control.Deps
	lazy control.Lazy
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{deps: d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	budgets := control.Loop{
		Name: "disruption", View: c.deps.View, Log: c.deps.Logger("disruption"), Do: c, Workers: 4,
		Sources: []control.Source{
			control.Self[policy.PodDisruptionBudget](),
			{Resource: object.ResourceOf[core.Pod](), Keys: c.onPod},
			scaled[apps.Deployment](c, func(o *apps.Deployment) *int32 { return o.Spec.Replicas }),
			scaled[apps.ReplicaSet](c, func(o *apps.ReplicaSet) *int32 { return o.Spec.Replicas }),
			scaled[apps.StatefulSet](c, func(o *apps.StatefulSet) *int32 { return o.Spec.Replicas }),
			scaled[core.ReplicationController](c, func(o *core.ReplicationController) *int32 { return o.Spec.Replicas }),
		},
	}
	stale := control.Loop{
		Name: "disruption conditions", View: c.deps.View, Log: c.deps.Logger("disruption"), Do: stale{c.deps}, Workers: 1,
		Sources: []control.Source{control.On(func(p, _ *core.Pod, wake func(object.Key)) {
			if targeted(p) {
				wake(object.KeyOf(p))
			}
		})},
	}
	return run.All(ctx, run.Component{Name: "budgets", Run: budgets.Run}, run.Component{Name: "stale conditions", Run: stale.Run})
}

// onPod wakes the budgets that a pod counts for, or counted for.
func (c *Controller) onPod(e client.Event, wake func(object.Key)) {
	now, old := e.Object.(*core.Pod), e.Old
	var before *core.Pod
	if old != nil && e.Type != client.Deleted {
		before = old.(*core.Pod)
		if sameFor(now, before) {
			return
		}
	}
	for _, b := range client.ListOf[policy.PodDisruptionBudget](c.deps.View, client.Select{Namespace: now.Namespace}) {
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && (sel.Matches(labels.Set(now.Labels)) || before != nil && sel.Matches(labels.Set(before.Labels))) {
			wake(object.KeyOf(b))
		}
	}
}

// sameFor says whether a change of a pod makes no difference to a budget.
func sameFor(a, b *core.Pod) bool {
	return control.Ready(a) == control.Ready(b) && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		a.Status.Phase == b.Status.Phase && labels.Equals(a.Labels, b.Labels) && owner(a) == owner(b)
}

func owner(p *core.Pod) types.UID {
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		return ref.UID
	}
	return ""
}

// scaled wakes all budgets of the namespace of an owner whose size changes, appears or goes: there are few of both.
func scaled[T any, P object.Ptr[T]](c *Controller, size func(P) *int32) control.Source {
	return control.On(func(now, old P, wake func(object.Key)) {
		if old != nil && now != old && control.Or(size(now), 1) == control.Or(size(old), 1) && now.GetDeletionTimestamp() == nil {
			return
		}
		for _, b := range client.ListOf[policy.PodDisruptionBudget](c.deps.View, client.Select{Namespace: now.GetNamespace()}) {
			wake(object.KeyOf(b))
		}
	})
}

// Reconcile brings the status of one budget up to date.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	b, ok := client.Lookup[policy.PodDisruptionBudget](c.deps.View, key)
	if !ok {
		c.lazy.Drop(key)
		return control.Done, nil
	}
	changes, again := plan(state{budget: b, pods: c.pods(b), now: time.Now(), scale: func(p *core.Pod) (types.UID, int32, error) {
		return c.scaleOf(ctx, p)
	}})
	return again, control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

// pods are those that a budget selects. A budget without a selector selects none.
func (c *Controller) pods(b *policy.PodDisruptionBudget) (out []*core.Pod) {
	sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return nil // validation lets none through
	}
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Namespace: b.Namespace}) {
		if sel.Matches(labels.Set(p.Labels)) {
			out = append(out, p)
		}
	}
	return out
}

// scaleOf is the uid of what a pod belongs to in the end, and how many pods that is to have: of a ReplicaSet of a Deployment, the Deployment.
// A pod without a controller has no uid.
func (c *Controller) scaleOf(ctx context.Context, p *core.Pod) (types.UID, int32, error) {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil {
		return "", 0, nil
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "", 0, err
	}
	key := object.Key{Namespace: p.Namespace, Name: ref.Name}
	switch gv.Group + "/" + ref.Kind {
	case "apps/ReplicaSet":
		if rs, ok := client.Lookup[apps.ReplicaSet](c.deps.View, key); ok && rs.UID == ref.UID {
			return c.deploymentOr(rs)
		}
	case "apps/StatefulSet":
		if o, ok := client.Lookup[apps.StatefulSet](c.deps.View, key); ok && o.UID == ref.UID {
			return o.UID, control.Or(o.Spec.Replicas, 1), nil
		}
	case "/ReplicationController":
		if o, ok := client.Lookup[core.ReplicationController](c.deps.View, key); ok && o.UID == ref.UID {
			return o.UID, control.Or(o.Spec.Replicas, 1), nil
		}
	}
	return c.foreignScale(ctx, p, gv, ref)
}

// deploymentOr is the Deployment that a ReplicaSet belongs to, or itself.
func (c *Controller) deploymentOr(rs *apps.ReplicaSet) (types.UID, int32, error) {
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil && ref.Kind == "Deployment" {
		if d, ok := client.Lookup[apps.Deployment](c.deps.View, object.Key{Namespace: rs.Namespace, Name: ref.Name}); ok && d.UID == ref.UID {
			return d.UID, control.Or(d.Spec.Replicas, 1), nil
		}
	}
	return rs.UID, control.Or(rs.Spec.Replicas, 1), nil
}

// foreignScale asks the scale subresource of any other controller.
func (c *Controller) foreignScale(ctx context.Context, p *core.Pod, gv schema.GroupVersion, ref *metav1.OwnerReference) (types.UID, int32, error) {
	for _, r := range c.deps.View.Resources() {
		if r.Group != gv.Group || r.Kind != ref.Kind {
			continue
		}
		t := client.Target{Resource: r.GroupVersionResource, Key: object.Key{Namespace: p.Namespace, Name: ref.Name}, Sub: "scale"}
		o, err := c.deps.Client.Get(ctx, t)
		switch s, ok := o.(*autoscaling.Scale); {
		case apierrors.IsNotFound(err):
			if _, exists := c.deps.View.Lookup(r.GroupVersionResource, t.Key); exists {
				return "", 0, fmt.Errorf("%s does not implement the scale subresource", r.GroupResource())
			}
		case err != nil:
			return "", 0, err
		case ok && s.UID == ref.UID:
			return s.UID, s.Spec.Replicas, nil
		}
	}
	return "", 0, fmt.Errorf("found no controllers for pod %q", p.Name)
}
