package localvolume

import (
	"cmp"
	"context"
	"strings"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	kinds "proa.dev/kinds/storage"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Controller is the one of all local volumes.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{deps: d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	ours := func(v *core.PersistentVolume) bool {
		return v.Spec.CSI != nil && v.Spec.CSI.Driver == kinds.LocalDriver
	}
	claims := control.Loop{
		Name: "localclaim", View: c.deps.View, Log: c.deps.Logger("localclaim"), Do: claims{c},
		Sources: []control.Source{
			control.On(func(now, old *core.PersistentVolumeClaim, wake func(object.Key)) {
				if now.Annotations[provisioner] == kinds.LocalDriver {
					wake(object.KeyOf(now))
				}
				if now.Status.Phase == core.ClaimBound && (old == nil || old.Status.Phase != core.ClaimBound) {
					c.copies(now, wake)
				}
			}),
			control.Source{Resource: object.ResourceOf[core.Node](), Keys: onOrders},
			control.On(func(now, _ *core.PersistentVolume, wake func(object.Key)) {
				if ref := now.Spec.ClaimRef; ours(now) && ref != nil {
					wake(object.Key{Namespace: ref.Namespace, Name: ref.Name})
				}
			}),
		},
	}
	volumes := control.Loop{
		Name: "localvolume", View: c.deps.View, Log: c.deps.Logger("localvolume"), Do: volumes{c}, Workers: 1, // they share annotations
		Sources: []control.Source{
			{Resource: object.ResourceOf[core.PersistentVolume](), Keys: func(e client.Event, wake func(object.Key)) {
				if v := e.Object.(*core.PersistentVolume); ours(v) {
					wake(object.KeyOf(v))
				}
			}},
			{Resource: object.ResourceOf[core.Node](), Keys: c.onNode},
		},
	}
	return run.All(ctx, run.Component{Name: "claims", Run: claims.Run}, run.Component{Name: "volumes", Run: volumes.Run})
}

// begin makes the driver's object and class. Later they are their users': one may take the class its default mark.
func (c *Controller) begin(ctx context.Context) error {
	policy := storage.FileFSGroupPolicy
	driver := &storage.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: kinds.LocalDriver}, Spec: storage.CSIDriverSpec{
		AttachRequired: new(false), PodInfoOnMount: new(false), FSGroupPolicy: &policy,
		VolumeLifecycleModes: []storage.VolumeLifecycleMode{storage.VolumeLifecyclePersistent},
	}}
	if _, err := client.Create(ctx, c.deps.Client, driver); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	reclaim, bind := core.PersistentVolumeReclaimDelete, storage.VolumeBindingWaitForFirstConsumer
	class := &storage.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: Class, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: kinds.LocalDriver, ReclaimPolicy: &reclaim, VolumeBindingMode: &bind, AllowVolumeExpansion: new(true),
	}
	if _, err := client.Create(ctx, c.deps.Client, class); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// copies wakes the claims that wait to be a copy of one.
func (c *Controller) copies(of *core.PersistentVolumeClaim, wake func(object.Key)) {
	for _, o := range client.ListOf[core.PersistentVolumeClaim](c.deps.View, client.Select{Namespace: of.Namespace}) {
		if cloned(o) == of.Name && o.Spec.VolumeName == "" {
			wake(object.KeyOf(o))
		}
	}
}

// onOrders wakes the claims whose copies a node has made, or not.
func onOrders(e client.Event, wake func(object.Key)) {
	n := e.Object.(*core.Node)
	old, _ := e.Old.(*core.Node)
	if e.Type == client.Modified && old != nil && old.Annotations[kinds.LocalCopy] == n.Annotations[kinds.LocalCopy] &&
		old.Annotations[kinds.LocalCopied] == n.Annotations[kinds.LocalCopied] {
		return
	}
	for _, o := range kinds.LocalOrders(n) {
		if ns, name, ok := strings.Cut(o.Claim, "/"); ok {
			wake(object.Key{Namespace: ns, Name: name})
		}
	}
}

// onNode wakes the volumes that a node's annotations name, now or before.
func (c *Controller) onNode(e client.Event, wake func(object.Key)) {
	n := e.Object.(*core.Node)
	old, _ := e.Old.(*core.Node)
	if e.Type == client.Modified && old != nil && old.Annotations[kinds.LocalRemove] == n.Annotations[kinds.LocalRemove] &&
		old.Annotations[kinds.LocalRemoved] == n.Annotations[kinds.LocalRemoved] && old.Annotations[kinds.LocalCopied] == n.Annotations[kinds.LocalCopied] {
		return
	}
	if e.Type == client.Deleted {
		for _, v := range client.ListOf[core.PersistentVolume](c.deps.View, client.Select{}) {
			if v.Spec.CSI != nil && v.Spec.CSI.Driver == kinds.LocalDriver && v.DeletionTimestamp != nil {
				wake(object.KeyOf(v))
			}
		}
		return
	}
	for _, h := range kinds.Handles(n, kinds.LocalRemove) {
		wake(object.Key{Name: h}) // the handle is the volume's name
	}
	for _, o := range kinds.LocalOrders(n) {
		wake(object.Key{Name: o.From})
	}
}

type claims struct{ c *Controller }

// Reconcile makes the volume of one claim, or lets it become larger.
func (r claims) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	v := r.c.deps.View
	claim, ok := client.Lookup[core.PersistentVolumeClaim](v, key)
	var changes []control.Change
	for _, n := range client.ListOf[core.Node](v, client.Select{}) {
		changes = append(changes, planOrders(n, key, claim, func(handle string) bool {
			_, ok := client.Lookup[core.PersistentVolume](v, object.Key{Name: handle})
			return ok
		})...)
	}
	if !ok || len(changes) > 0 { // the node's next state wakes us again
		return control.Done, r.c.apply(ctx, changes)
	}
	class, _ := client.Lookup[storage.StorageClass](v, object.Key{Name: kinds.ClassOf(claim)})
	n, _ := client.Lookup[core.Node](v, object.Key{Name: claim.Annotations[selectedNode]})
	pv, _ := client.Lookup[core.PersistentVolume](v, object.Key{Name: volumeName(claim)})
	changes = planClaim(claim, class, n, pv, originOf(v, claim))
	if pv != nil && kinds.Meant(pv, claim) {
		changes = append(changes, planSize(claim, pv)...)
	}
	return control.Done, r.c.apply(ctx, changes)
}

func (c *Controller) apply(ctx context.Context, changes []control.Change) error {
	var writes, told []control.Change
	for _, ch := range changes {
		if ch.Op == tellOnly {
			told = append(told, ch)
		} else {
			writes = append(writes, ch)
		}
	}
	err := control.Apply(ctx, c.deps.Client, c.deps.Events, writes)
	if err == nil || len(writes) == 0 {
		for _, ch := range told {
			c.deps.Events.Event(ch.Said.On, cmp.Or(ch.Said.Type, core.EventTypeNormal), ch.Said.Reason, "%s", ch.Said.Format)
		}
	}
	return err
}

type volumes struct{ c *Controller }

// Reconcile takes one volume back, and forgets orders of volumes that are gone.
func (r volumes) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	view := r.c.deps.View
	there := func(handle string) bool {
		_, ok := client.Lookup[core.PersistentVolume](view, object.Key{Name: handle})
		return ok
	}
	v, ok := client.Lookup[core.PersistentVolume](view, key)
	if !ok {
		var changes []control.Change
		for _, n := range client.ListOf[core.Node](view, client.Select{}) {
			changes = append(changes, planNode(n, there)...)
		}
		return control.Done, r.c.apply(ctx, changes)
	}
	return control.Done, r.c.apply(ctx, planVolume(v, func(host string) *core.Node {
		for _, n := range client.ListOf[core.Node](view, client.Select{}) {
			if n.Labels[core.LabelHostname] == host {
				return n
			}
		}
		return nil
	}))
}
