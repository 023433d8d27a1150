package deployment

import (
	"context"
	"fmt"
	"reflect"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of all Deployments.
type Controller struct {
	deps   control.Deps
	strays control.Strays[apps.ReplicaSet, *apps.ReplicaSet]
	lazy   control.Lazy
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	// longer than that of ReplicaSets, so that their counts are in ours
	return &Controller{deps: d, lazy: control.Lazy{Delay: control.StatusDelay * 3 / 2}}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "deployment", View: c.deps.View, Log: c.deps.Logger("deployment"), Do: c, Workers: 4,
		Sources: []control.Source{
			control.Self[apps.Deployment](),
			control.ControlledBy[apps.ReplicaSet, apps.Deployment](),
			c.strays.Source(c.adopters),
			control.On(c.podGone),
		},
	}
	return l.Run(ctx)
}

func (c *Controller) adopters(rs *apps.ReplicaSet, wake func(object.Key)) {
	for _, d := range client.ListOf[apps.Deployment](c.deps.View, client.Select{Namespace: rs.Namespace}) {
		sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !sel.Empty() && sel.Matches(labels.Set(rs.Labels)) {
			wake(object.KeyOf(d))
		}
	}
}

// podGone wakes Recreate Deployments, which wait for the last old pod: no status tells of a pod that is being deleted.
func (c *Controller) podGone(p, _ *core.Pod, wake func(object.Key)) {
	if p.DeletionTimestamp == nil && !control.Finished(p) {
		return
	}
	key, ok := control.ControllerKind(p, apps.SchemeGroupVersion.WithKind("ReplicaSet"))
	if !ok {
		return
	}
	rs, ok := client.Lookup[apps.ReplicaSet](c.deps.View, key)
	if !ok {
		return
	}
	if key, ok = control.ControllerKind(rs, apps.SchemeGroupVersion.WithKind("Deployment")); !ok {
		return
	}
	if d, ok := client.Lookup[apps.Deployment](c.deps.View, key); ok && d.Spec.Strategy.Type == apps.RecreateDeploymentStrategyType {
		wake(key)
	}
}

// Reconcile takes one Deployment a step further towards its template and size.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d, ok := client.Lookup[apps.Deployment](c.deps.View, key)
	if !ok {
		c.lazy.Drop(key)
		return control.Done, nil // deleted: ownergc removes the ReplicaSets
	}
	sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return control.Done, err
	}
	if sel.Empty() {
		c.deps.Events.Event(d, core.EventTypeWarning, "SelectingAll",
			"This deployment is selecting all pods. A non-empty selector is required.")
		return control.Done, nil
	}
	v := c.deps.View
	candidates := client.Owned[apps.ReplicaSet](v, d)
	for _, rs := range c.strays.In(v, d.Namespace) {
		if !object.OwnedBy(rs, d.UID) {
			candidates = append(candidates, rs)
		}
	}
	claims := control.Claim(d, sel, candidates)
	if len(claims.Changes) > 0 {
		return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, claims.Changes)
	}
	s := state{d: d, sets: claims.Mine, busy: map[types.UID]bool{}}
	s.named = func(name string) (*apps.ReplicaSet, bool) {
		return client.Lookup[apps.ReplicaSet](v, object.Key{Namespace: d.Namespace, Name: name})
	}
	if d.Spec.Strategy.Type == apps.RecreateDeploymentStrategyType {
		for _, rs := range s.sets {
			for _, p := range client.Owned[core.Pod](v, rs) {
				s.busy[rs.UID] = s.busy[rs.UID] || !control.Finished(p)
			}
		}
	}
	return c.apply(ctx, d, plan(s, time.Now()))
}

func (c *Controller) apply(ctx context.Context, d *apps.Deployment, r result) (control.Again, error) {
	err := control.Apply(ctx, c.deps.Client, c.deps.Events, r.changes)
	if err != nil {
		if r.creates == "" || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || ctx.Err() != nil {
			return control.Done, err
		}
		r.status, r.urgent, r.revision = failedCreate(d, r.creates, err, time.Now()), true, ""
		c.deps.Events.Event(d, core.EventTypeWarning, "ReplicaSetCreateError", "Failed to create new replica set %q: %v", r.creates, err)
	}
	again, statusErr := c.applyStatus(ctx, d, r)
	if err == nil {
		err = statusErr
	}
	return again, err
}

// applyStatus writes the status and the revision, together if it can be.
func (c *Controller) applyStatus(ctx context.Context, d *apps.Deployment, r result) (control.Again, error) {
	key, now := object.KeyOf(d), time.Now()
	same := reflect.DeepEqual(d.Status, r.status)
	stale := r.revision != "" && d.Annotations[RevisionAnnotation] != r.revision
	if same && !stale {
		c.lazy.Drop(key)
		return r.again, nil
	}
	if !r.urgent {
		if hold, wait := c.lazy.Hold(key, now); hold {
			return r.again.Sooner(wait), nil
		}
	}
	c.lazy.Drop(key)
	var changes []control.Change
	if !same {
		n := object.Clone(d)
		n.Status = r.status
		if stale {
			setRevision(n, r.revision)
		}
		changes = append(changes, control.Change{Op: control.Status, Object: n})
	} else {
		changes = append(changes, control.Change{Op: control.Patch, Object: d, Patch: control.MergePatch(map[string]any{
			"metadata": map[string]any{"uid": d.UID, "annotations": map[string]string{RevisionAnnotation: r.revision}},
		})})
	}
	return r.again, control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

func setRevision(d *apps.Deployment, revision string) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[RevisionAnnotation] = revision
}

func failedCreate(d *apps.Deployment, name string, err error, now time.Time) apps.DeploymentStatus {
	r := begin(state{d: d}, now)
	r.progress(core.ConditionFalse, "ReplicaSetCreateError", fmt.Sprintf("Failed to create new replica set %q: %v", name, err))
	return r.out.status
}
