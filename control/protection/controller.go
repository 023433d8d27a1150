package protection

import (
	"context"
	"slices"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// The finalizers that are taken away here.
const (
	claimFinalizer  = "kubernetes.io/pvc-protection"
	volumeFinalizer = "kubernetes.io/pv-protection"
	classFinalizer  = "kubernetes.io/vac-protection"
)

// Controller is the one of all that may be in use.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	loops := []control.Loop{
		{Name: "pvc-protection", Do: guard[core.PersistentVolumeClaim, *core.PersistentVolumeClaim]{c.deps, claimFinalizer, c.claimUsed},
			Sources: []control.Source{control.Self[core.PersistentVolumeClaim](), control.On(c.onPod)}},
		{Name: "pv-protection", Do: guard[core.PersistentVolume, *core.PersistentVolume]{c.deps, volumeFinalizer, c.volumeUsed},
			Sources: []control.Source{control.Self[core.PersistentVolume]()}},
	}
	if c.carries(object.ResourceOf[storage.VolumeAttributesClass]()) {
		loops = append(loops, control.Loop{
			Name: "vac-protection", Do: guard[storage.VolumeAttributesClass, *storage.VolumeAttributesClass]{c.deps, classFinalizer, c.classUsed},
			Sources: []control.Source{control.Self[storage.VolumeAttributesClass](), control.On(c.onUser), control.On(c.onVolume)}})
	}
	var parts []run.Component
	for i := range loops {
		l := &loops[i]
		l.View, l.Log = c.deps.View, c.deps.Logger(l.Name)
		parts = append(parts, run.Component{Name: l.Name, Run: l.Run})
	}
	return run.All(ctx, parts...)
}

func (c *Controller) carries(r client.Resource) bool {
	return slices.ContainsFunc(c.deps.View.Resources(), func(have object.Resource) bool { return have.GroupVersionResource == r })
}

// guard holds the objects of one kind.
type guard[T any, P object.Ptr[T]] struct {
	deps      control.Deps
	finalizer string
	used      func(P) bool
}

// Reconcile lets one object go if nobody uses it. What was made before there was this guard gets the finalizer.
func (g guard[T, P]) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	o, ok := client.Lookup[T, P](g.deps.View, key)
	if !ok {
		return control.Done, nil
	}
	held, going := slices.Contains(o.GetFinalizers(), g.finalizer), o.GetDeletionTimestamp() != nil
	if held != going || going && g.used(o) {
		return control.Done, nil
	}
	n := object.Clone[T, P](o)
	if going {
		n.SetFinalizers(slices.DeleteFunc(n.GetFinalizers(), func(f string) bool { return f == g.finalizer }))
	} else {
		n.SetFinalizers(append(n.GetFinalizers(), g.finalizer))
	}
	return control.Done, control.Apply(ctx, g.deps.Client, g.deps.Events, []control.Change{{Op: control.Update, Object: n}})
}

// onPod wakes the claims of a pod that wait for it.
func (c *Controller) onPod(p, _ *core.Pod, wake func(object.Key)) {
	for i := range p.Spec.Volumes {
		key := object.Key{Namespace: p.Namespace, Name: claimOf(p, &p.Spec.Volumes[i])}
		if key.Name == "" {
			continue
		}
		if claim, ok := client.Lookup[core.PersistentVolumeClaim](c.deps.View, key); ok && claim.DeletionTimestamp != nil {
			wake(key)
		}
	}
}

// claimOf is the name of the claim that a volume of a pod is; empty: it is none.
func claimOf(p *core.Pod, v *core.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return p.Name + "-" + v.Name
	}
	return ""
}

// claimUsed says whether a pod that has a node uses a claim. A pod without a node will not start with a claim that is being deleted.
func (c *Controller) claimUsed(claim *core.PersistentVolumeClaim) bool {
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Namespace: claim.Namespace}) {
		if p.Spec.NodeName == "" {
			continue
		}
		for i := range p.Spec.Volumes {
			v := &p.Spec.Volumes[i]
			if claimOf(p, v) == claim.Name && (v.Ephemeral == nil || !shutDown(p) && control.Controls(p, claim)) {
				return true
			}
		}
	}
	return false
}

// shutDown says that the kubelet is done with a pod, or that it was deleted by force. It may wait for the end of its own claims.
func shutDown(p *core.Pod) bool {
	return p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds == 0
}

func (c *Controller) volumeUsed(v *core.PersistentVolume) bool {
	return v.Status.Phase == core.VolumeBound
}

// onUser wakes the classes that a claim used, or uses no more.
func (c *Controller) onUser(now, old *core.PersistentVolumeClaim, wake func(object.Key)) {
	for _, claim := range []*core.PersistentVolumeClaim{now, old} {
		for _, name := range classesOf(claim) {
			wake(object.Key{Name: name})
		}
	}
}

func (c *Controller) onVolume(now, old *core.PersistentVolume, wake func(object.Key)) {
	for _, v := range []*core.PersistentVolume{now, old} {
		if v != nil && v.Spec.VolumeAttributesClassName != nil {
			wake(object.Key{Name: *v.Spec.VolumeAttributesClassName})
		}
	}
}

// classesOf are the classes of volume attributes that a claim has, had, or is getting.
func classesOf(c *core.PersistentVolumeClaim) (out []string) {
	if c == nil {
		return nil
	}
	for _, n := range []*string{c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName} {
		if n != nil && *n != "" {
			out = append(out, *n)
		}
	}
	if m := c.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		out = append(out, m.TargetVolumeAttributesClassName)
	}
	return out
}

func (c *Controller) classUsed(class *storage.VolumeAttributesClass) bool {
	for _, v := range client.ListOf[core.PersistentVolume](c.deps.View, client.Select{}) {
		if n := v.Spec.VolumeAttributesClassName; n != nil && *n == class.Name {
			return true
		}
	}
	return slices.ContainsFunc(client.ListOf[core.PersistentVolumeClaim](c.deps.View, client.Select{}), func(c *core.PersistentVolumeClaim) bool {
		return slices.Contains(classesOf(c), class.Name)
	})
}
