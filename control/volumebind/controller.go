package volumebind

import (
	"context"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/client"
	"proa.dev/control"
	kinds "proa.dev/kinds/storage"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Controller is the one of all claims and volumes.
type Controller struct {
	deps control.Deps

	mu    sync.Mutex                         // guards users
	users map[object.Key]map[object.Key]bool // claim -> pods that name it
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, users: map[object.Key]map[object.Key]bool{}}, nil
}

// Run works until ctx ends. One worker for claims: two of them might take the same volume, and find out only by a conflict.
func (c *Controller) Run(ctx context.Context) error {
	claims := control.Loop{
		Name: "volumeclaim", View: c.deps.View, Log: c.deps.Logger("volumeclaim"), Do: claims{c}, Workers: 1,
		Sources: []control.Source{
			control.Self[core.PersistentVolumeClaim](),
			{Resource: object.ResourceOf[core.Pod](), Keys: c.onPod},
			control.On(c.onVolume),
			control.On(c.onClass),
		},
	}
	volumes := control.Loop{
		Name: "volume", View: c.deps.View, Log: c.deps.Logger("volume"), Do: volumes{c}, Workers: 2,
		Sources: []control.Source{
			control.Self[core.PersistentVolume](),
			control.On(func(now, old *core.PersistentVolumeClaim, wake func(object.Key)) {
				if now.Spec.VolumeName != "" {
					wake(object.Key{Name: now.Spec.VolumeName})
				}
			}),
		},
	}
	return run.All(ctx, run.Component{Name: "claims", Run: claims.Run}, run.Component{Name: "volumes", Run: volumes.Run})
}

// claimsOf is the claims that a pod names.
func claimsOf(p *core.Pod) []object.Key {
	var out []object.Key
	for _, v := range p.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			out = append(out, object.Key{Namespace: p.Namespace, Name: v.PersistentVolumeClaim.ClaimName})
		case v.Ephemeral != nil:
			out = append(out, object.Key{Namespace: p.Namespace, Name: p.Name + "-" + v.Name})
		}
	}
	return out
}

// onPod keeps users, and wakes the claims of a pod that came, went, got a node or finished.
func (c *Controller) onPod(e client.Event, wake func(object.Key)) {
	p := e.Object.(*core.Pod)
	key := object.KeyOf(p)
	c.mu.Lock()
	for _, claim := range claimsOf(p) {
		if e.Type == client.Deleted {
			delete(c.users[claim], key)
			if len(c.users[claim]) == 0 {
				delete(c.users, claim)
			}
			continue
		}
		if c.users[claim] == nil {
			c.users[claim] = map[object.Key]bool{}
		}
		c.users[claim][key] = true
	}
	c.mu.Unlock()
	old, _ := e.Old.(*core.Pod)
	if e.Type == client.Modified && old != nil && inUse(old) == inUse(p) {
		return
	}
	for _, claim := range claimsOf(p) {
		wake(claim)
	}
}

// inUse says whether p may have its volumes mounted.
func inUse(p *core.Pod) bool { return p.Spec.NodeName != "" && !control.Finished(p) }

// onVolume wakes the claim that a volume is meant for, or, where it is free, those that wait.
func (c *Controller) onVolume(v, _ *core.PersistentVolume, wake func(object.Key)) {
	if ref := v.Spec.ClaimRef; ref != nil {
		wake(object.Key{Namespace: ref.Namespace, Name: ref.Name})
		return
	}
	c.wakePending(func(claim *core.PersistentVolumeClaim) bool {
		return claim.Spec.VolumeName == v.Name || claim.Spec.VolumeName == "" && kinds.ClassOf(claim) == kinds.ClassOfVolume(v)
	}, wake)
}

func (c *Controller) onClass(sc, _ *storage.StorageClass, wake func(object.Key)) {
	c.wakePending(func(claim *core.PersistentVolumeClaim) bool {
		return kinds.ClassOf(claim) == sc.Name || isDefault(sc) && claim.Spec.StorageClassName == nil
	}, wake)
}

func (c *Controller) wakePending(which func(*core.PersistentVolumeClaim) bool, wake func(object.Key)) {
	for _, claim := range client.ListOf[core.PersistentVolumeClaim](c.deps.View, client.Select{}) {
		if claim.Status.Phase != core.ClaimBound && which(claim) {
			wake(object.KeyOf(claim))
		}
	}
}

type claims struct{ c *Controller }

// Reconcile binds one claim, or says why not.
func (r claims) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d := r.c.deps
	claim, ok := client.Lookup[core.PersistentVolumeClaim](d.View, key)
	if !ok {
		return control.Done, nil
	}
	s := claimState{claim: claim, volumes: client.ListOf[core.PersistentVolume](d.View, client.Select{})}
	if name := kinds.ClassOf(claim); name != "" {
		s.class, _ = client.Lookup[storage.StorageClass](d.View, object.Key{Name: name})
	}
	if claim.Spec.StorageClassName == nil && claim.Spec.VolumeName == "" {
		s.def = defaultOf(client.ListOf[storage.StorageClass](d.View, client.Select{}))
	}
	s.asked = r.c.asked(key)
	if claim.DeletionTimestamp != nil {
		s.used = r.c.used(key)
	}
	var changes []control.Change
	for _, ch := range planClaim(s) {
		if ch.Op == tellOnly {
			d.Events.Event(ch.Said.On, ch.Said.Type, ch.Said.Reason, "%s", ch.Said.Format)
			continue
		}
		changes = append(changes, ch)
	}
	return control.Done, control.Apply(ctx, d.Client, d.Events, changes)
}

// asked is a pod that names a claim and has no node yet, "" if there is none.
func (c *Controller) asked(claim object.Key) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := ""
	for pod := range c.users[claim] {
		if p, ok := client.Lookup[core.Pod](c.deps.View, pod); ok && p.Spec.NodeName == "" && (first == "" || pod.Name < first) {
			first = pod.Name
		}
	}
	return first
}

// The annotations of the class of claims that name none.
const (
	defaultClass     = "storageclass.kubernetes.io/is-default-class"
	defaultClassBeta = "storageclass.beta.kubernetes.io/is-default-class"
)

func isDefault(c *storage.StorageClass) bool {
	return c.Annotations[defaultClass] == "true" || c.Annotations[defaultClassBeta] == "true"
}

// defaultOf is the newest of the default classes.
func defaultOf(classes []*storage.StorageClass) (found *storage.StorageClass) {
	for _, c := range classes {
		if isDefault(c) && (found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp)) {
			found = c
		}
	}
	return found
}

// used says whether a pod may have a claim mounted. It searches the View itself: users may not have heard of the pod yet, and a claim
// that goes under a pod's feet does not come back.
func (c *Controller) used(claim object.Key) bool {
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Namespace: claim.Namespace}) {
		if inUse(p) && slices.Contains(claimsOf(p), claim) {
			return true
		}
	}
	return false
}

type volumes struct{ c *Controller }

// Reconcile keeps the phase of one volume.
func (r volumes) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d := r.c.deps
	v, ok := client.Lookup[core.PersistentVolume](d.View, key)
	if !ok {
		return control.Done, nil
	}
	var claim *core.PersistentVolumeClaim
	if ref := v.Spec.ClaimRef; ref != nil {
		claim, _ = client.Lookup[core.PersistentVolumeClaim](d.View, object.Key{Namespace: ref.Namespace, Name: ref.Name})
	}
	return control.Done, control.Apply(ctx, d.Client, d.Events, planVolume(v, claim, time.Now()))
}
