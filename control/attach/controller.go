package attach

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of all attachments.
type Controller struct {
	deps control.Deps

	mu    sync.Mutex           // guards since
	since map[string]time.Time // by attachment: when its pods were gone
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, since: map[string]time.Time{}}, nil
}

// Run works until ctx ends. One worker: two nodes that want the same volume must see each other's attachments.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "attach", View: c.deps.View, Log: c.deps.Logger("attach"), Do: c, Workers: 1,
		Sources: []control.Source{
			{Resource: object.ResourceOf[core.Pod](), Keys: onPod},
			{Resource: object.ResourceOf[core.Node](), Keys: onNode},
			{Resource: object.ResourceOf[storage.VolumeAttachment](), Keys: c.onAttachment},
			control.On(func(_, _ *storage.CSIDriver, wake func(object.Key)) {
				for _, a := range client.ListOf[core.Node](c.deps.View, client.Select{}) {
					wake(object.Key{Name: a.Name})
				}
			}),
		},
	}
	return l.Run(ctx)
}

func hasClaims(p *core.Pod) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v core.Volume) bool { return v.PersistentVolumeClaim != nil || v.Ephemeral != nil })
}

// onPod wakes the node of a pod with claims that came, got its node, finished or went.
func onPod(e client.Event, wake func(object.Key)) {
	p := e.Object.(*core.Pod)
	if p.Spec.NodeName == "" || !hasClaims(p) {
		return
	}
	if old, ok := e.Old.(*core.Pod); ok && e.Type == client.Modified && old.Spec.NodeName == p.Spec.NodeName && control.Finished(old) == control.Finished(p) {
		return
	}
	wake(object.Key{Name: p.Spec.NodeName})
}

// onNode wakes a node whose volumes, taints or health changed.
func onNode(e client.Event, wake func(object.Key)) {
	n := e.Object.(*core.Node)
	if old, ok := e.Old.(*core.Node); ok && e.Type == client.Modified && healthy(old) == healthy(n) && len(old.Spec.Taints) == len(n.Spec.Taints) &&
		slices.Equal(old.Status.VolumesInUse, n.Status.VolumesInUse) && slices.Equal(old.Status.VolumesAttached, n.Status.VolumesAttached) {
		return
	}
	wake(object.KeyOf(n))
}

// onAttachment wakes the node of an attachment, and, where one ended, the nodes whose pods may have waited for it.
func (c *Controller) onAttachment(e client.Event, wake func(object.Key)) {
	a := e.Object.(*storage.VolumeAttachment)
	wake(object.Key{Name: a.Spec.NodeName})
	if e.Type != client.Deleted || a.Spec.Source.PersistentVolumeName == nil {
		return
	}
	pv, ok := client.Lookup[core.PersistentVolume](c.deps.View, object.Key{Name: *a.Spec.Source.PersistentVolumeName})
	if !ok || pv.Spec.ClaimRef == nil {
		return
	}
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Namespace: pv.Spec.ClaimRef.Namespace}) {
		if p.Spec.NodeName != "" && hasClaims(p) {
			wake(object.Key{Name: p.Spec.NodeName})
		}
	}
}

// Reconcile attaches what the pods of one node need, and takes away what they do not.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	s := &state{name: key.Name, now: time.Now(), volume: c.volume, users: c.users}
	s.node, _ = client.Lookup[core.Node](c.deps.View, key)
	if s.node != nil && s.node.DeletionTimestamp != nil {
		s.node = nil
	}
	all := client.ListOf[storage.VolumeAttachment](c.deps.View, client.Select{})
	for _, a := range all {
		if a.Spec.NodeName == key.Name && c.ours(a) {
			s.have = append(s.have, a)
		}
	}
	s.elsewhere = func(volume string) (nodes []string) {
		for _, a := range all {
			if v := a.Spec.Source.PersistentVolumeName; v != nil && *v == volume && a.Spec.NodeName != key.Name {
				nodes = append(nodes, a.Spec.NodeName)
			}
		}
		return nodes
	}
	if s.node != nil {
		s.wants = c.wants(key.Name)
	}
	if len(s.have) == 0 && len(s.wants) == 0 && (s.node == nil || len(s.node.Status.VolumesAttached) == 0) {
		return control.Done, nil
	}
	c.mu.Lock()
	s.since = c.since
	changes, again := s.plan()
	c.mu.Unlock()
	var writes []control.Change
	for _, ch := range changes {
		if ch.Op == tellOnly {
			c.deps.Events.Event(ch.Said.On, cmp.Or(ch.Said.Type, core.EventTypeNormal), ch.Said.Reason, "%s", ch.Said.Format)
			continue
		}
		writes = append(writes, ch)
	}
	if again == waits {
		again = control.Done
	}
	return again, control.Apply(ctx, c.deps.Client, c.deps.Events, writes)
}

func (c *Controller) volume(name string) *core.PersistentVolume {
	pv, ok := client.Lookup[core.PersistentVolume](c.deps.View, object.Key{Name: name})
	if !ok {
		return nil
	}
	return pv
}

// users are the pods on some nodes that have a volume.
func (c *Controller) users(pv *core.PersistentVolume, nodes []string) (names []string) {
	if pv.Spec.ClaimRef == nil {
		return nil
	}
	for _, n := range nodes {
		for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Node: n, Namespace: pv.Spec.ClaimRef.Namespace}) {
			if !control.Finished(p) && slices.ContainsFunc(p.Spec.Volumes, func(v core.Volume) bool { return claimName(p, &v) == pv.Spec.ClaimRef.Name }) {
				names = append(names, p.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// claimName is the claim that a volume of a pod stands for; "" is none.
func claimName(p *core.Pod, v *core.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return p.Name + "-" + v.Name
	}
	return ""
}

// ours says whether an attachment is one that this controller, or that of Kubernetes, has made.
func (c *Controller) ours(a *storage.VolumeAttachment) bool {
	if a.Spec.Source.PersistentVolumeName == nil {
		return false
	}
	pv := c.volume(*a.Spec.Source.PersistentVolumeName)
	return pv != nil && pv.Spec.CSI != nil && Name(pv.Spec.CSI, a.Spec.NodeName) == a.Name
}

// wants are the volumes of a node's pods whose drivers attach.
func (c *Controller) wants(node string) (out []want) {
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Node: node}) {
		if control.Finished(p) || !hasClaims(p) {
			continue
		}
		for i := range p.Spec.Volumes {
			name := claimName(p, &p.Spec.Volumes[i])
			if name == "" {
				continue
			}
			claim, ok := client.Lookup[core.PersistentVolumeClaim](c.deps.View, object.Key{Namespace: p.Namespace, Name: name})
			if !ok || claim.Spec.VolumeName == "" {
				continue
			}
			if pv := c.volume(claim.Spec.VolumeName); pv != nil && pv.Spec.CSI != nil && c.attaches(pv.Spec.CSI.Driver) {
				out = append(out, want{pv, p})
			}
		}
	}
	return out
}

// attaches says whether volumes of a driver are to be attached: unless its CSIDriver says no.
func (c *Controller) attaches(driver string) bool {
	d, ok := client.Lookup[storage.CSIDriver](c.deps.View, object.Key{Name: driver})
	return !ok || control.Or(d.Spec.AttachRequired, true)
}
