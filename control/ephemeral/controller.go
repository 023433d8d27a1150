package ephemeral

import (
	"context"
	"fmt"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of all ephemeral volumes.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{deps: d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "ephemeral", View: c.deps.View, Log: c.deps.Logger("ephemeral"), Do: c,
		Sources: []control.Source{
			{Resource: object.ResourceOf[core.Pod](), Keys: func(e client.Event, wake func(object.Key)) {
				if e.Type == client.Added && has(e.Object.(*core.Pod)) { // a pod's volumes never change
					wake(object.KeyOf(e.Object))
				}
			}},
			{Resource: object.ResourceOf[core.PersistentVolumeClaim](), Keys: func(e client.Event, wake func(object.Key)) {
				if ref := metav1.GetControllerOfNoCopy(e.Object); e.Type == client.Deleted && ref != nil && ref.Kind == "Pod" {
					wake(object.Key{Namespace: e.Object.GetNamespace(), Name: ref.Name})
				}
			}},
		},
	}
	return l.Run(ctx)
}

func has(p *core.Pod) bool {
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Ephemeral != nil {
			return true
		}
	}
	return false
}

// Reconcile makes the claims that a pod needs.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	p, ok := client.Lookup[core.Pod](c.deps.View, key)
	if !ok || p.DeletionTimestamp != nil || control.Finished(p) {
		return control.Done, nil
	}
	changes, err := plan(p, func(name string) *core.PersistentVolumeClaim {
		claim, ok := client.Lookup[core.PersistentVolumeClaim](c.deps.View, object.Key{Namespace: p.Namespace, Name: name})
		if !ok {
			return nil
		}
		return claim
	})
	if applied := control.Apply(ctx, c.deps.Client, c.deps.Events, changes); applied != nil {
		return control.Done, applied
	}
	return control.Done, err
}

// plan says which claims are missing. The error is a claim of that name that is somebody else's.
func plan(p *core.Pod, find func(name string) *core.PersistentVolumeClaim) (changes []control.Change, err error) {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Ephemeral == nil || v.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		name, t := p.Name+"-"+v.Name, v.Ephemeral.VolumeClaimTemplate
		if have := find(name); have != nil {
			if !metav1.IsControlledBy(have, p) {
				err = fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", have.Namespace, have.Name, p.Namespace, p.Name)
			}
			continue
		}
		t = t.DeepCopy()
		changes = append(changes, control.Change{
			Op: control.Create,
			Object: &core.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: p.Namespace, Name: name, Labels: t.Labels, Annotations: t.Annotations, OwnerReferences: []metav1.OwnerReference{control.RefOf(p)},
				},
				Spec: t.Spec,
			},
			Refused: control.Note{On: p, Reason: "FailedBinding", Format: "ephemeral volume " + name + ": %[1]v"},
		})
	}
	return changes, err
}
