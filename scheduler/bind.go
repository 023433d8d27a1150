package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
	"proa.dev/scheduler/devices"
)

// bindWithin bounds one binding, without the time its volumes take.
const bindWithin = 30 * time.Second

// volumesWithin is how long a pod waits for its volumes to be made on the node that was chosen.
const volumesWithin = 10 * time.Minute

// selectedNode tells the provisioner of a claim where the pod will be.
const selectedNode = "volume.kubernetes.io/selected-node"

// bind is a decision on its way to the API.
type bind struct {
	w       *waiting
	node    string
	claims  []object.Key                          // to be bound first
	chosen  map[object.Key]*core.PersistentVolume // free volumes for some of them; for the others volumes are to be made
	devices *devices.Decision                     // to be written first; nil: none
}

// assume counts a pod on its node and sends the binding off.
func (s *Scheduler) assume(ctx context.Context, w *waiting, n *node, k *class) error {
	s.cluster.placeLike(k, w.pod, n).assumed = true
	b := &bind{w: w, node: n.name}
	if k.claims != nil {
		for _, u := range k.claims.waiting {
			b.claims = append(b.claims, u.key)
		}
		b.chosen, _ = k.claims.match(n.obj)
	}
	if k.devices != nil {
		b.devices = k.devices.Decide(n.name)
	}
	if len(b.claims) > 0 || b.devices != nil {
		// Volumes and devices may take minutes; they must not hold a binder.
		go func() { // ends with ctx, or when the volumes and devices have had their time; its result goes to the inbox as that of a binder
			err := s.prepare(ctx, b)
			if err == nil {
				err = s.write(ctx, b)
			}
			s.inbox.send(func(now time.Time) { s.bound(b, err, now) })
		}()
		return nil
	}
	select {
	case s.binds <- b:
	case <-ctx.Done():
	}
	return nil
}

// binder writes bindings until ctx ends.
func (s *Scheduler) binder(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-s.binds:
			err := s.write(ctx, b)
			s.inbox.send(func(now time.Time) { s.bound(b, err, now) })
		}
	}
}

// write is the API call.
func (s *Scheduler) write(ctx context.Context, b *bind) error {
	ctx, cancel := context.WithTimeout(ctx, bindWithin)
	defer cancel()
	pod := b.w.pod
	t := client.TargetOf[core.Pod](object.KeyOf(pod))
	t.Sub = "binding"
	_, err := s.api.Create(ctx, t, &core.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     core.ObjectReference{Kind: "Node", Name: b.node},
	}, metav1.CreateOptions{})
	if err == nil {
		s.events.Event(pod, core.EventTypeNormal, "Scheduled", "Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, b.node)
	}
	return err
}

// bound takes in how a binding went.
func (s *Scheduler) bound(b *bind, err error, now time.Time) {
	s.unclaim(b, err)
	if err == nil {
		s.queue.drop(b.w.pod.UID) // its event counts the pod for good
		return
	}
	if p := s.cluster.pods[b.w.pod.UID]; p != nil && p.assumed {
		s.cluster.remove(p)
		s.queue.helped(byResources|byPorts|byAffinity|bySpread|byDevices, now)
	}
	if s.queue.pods[b.w.pod.UID] != b.w {
		return // deleted meanwhile, or bound by somebody else
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		// Deleted, or bound: the event is on its way. If it is another change, the back-off tries again.
		s.log.Debug("binding refused", "kind", "Pod", "ns", b.w.pod.Namespace, "name", b.w.pod.Name, "node", b.node, "err", err)
	} else {
		s.log.Warn("bind pod", "ns", b.w.pod.Namespace, "name", b.w.pod.Name, "node", b.node, "err", err)
		s.events.Event(b.w.pod, core.EventTypeWarning, "FailedScheduling", "%v", err)
	}
	s.queue.retry(b.w, now)
}

// provision gives the claims of a pod the volumes that were chosen, names the node to the others, and waits until they are bound.
func (s *Scheduler) provision(ctx context.Context, b *bind) error {
	ctx, cancel := context.WithTimeout(ctx, volumesWithin)
	defer cancel()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{selectedNode: b.node}}})
	if err != nil {
		return err
	}
	left, told := map[object.Key]bool{}, map[object.Key]bool{}
	for _, key := range b.claims {
		left[key] = true
		if pv := b.chosen[key]; pv != nil {
			if err := s.reserve(ctx, pv, key); err != nil {
				return err
			}
			continue
		}
		t := client.TargetOf[core.PersistentVolumeClaim](key)
		if _, err := s.api.Patch(ctx, t, client.Patch{Type: types.MergePatchType, Data: patch}, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("choose node %s for claim %s: %w", b.node, key, err)
		}
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	var lost error
	err = client.Watch(ctx, s.view, func(t client.EventType, c, _ *core.PersistentVolumeClaim) {
		if t == client.Synced || !left[object.KeyOf(c)] {
			return
		}
		switch {
		case t == client.Deleted:
			lost = fmt.Errorf("claim %s was deleted", object.KeyOf(c))
			done()
		case c.Status.Phase == core.ClaimBound:
			delete(left, object.KeyOf(c))
			if len(left) == 0 {
				done()
			}
		case c.Annotations[selectedNode] == b.node:
			told[object.KeyOf(c)] = true
		case told[object.KeyOf(c)]: // what is older than our patch says nothing
			lost = fmt.Errorf("claim %s could not be provisioned on node %s", object.KeyOf(c), b.node)
			done()
		}
	})
	switch {
	case lost != nil:
		return lost
	case len(left) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("binding volumes: %w", err)
	}
	return fmt.Errorf("binding volumes: %w", ctx.Err())
}

// reserve makes a free volume one for a claim. A volume that has changed meanwhile is a conflict: it may be another's now.
func (s *Scheduler) reserve(ctx context.Context, pv *core.PersistentVolume, key object.Key) error {
	if pv.Spec.ClaimRef != nil {
		return nil // it was meant for it
	}
	claim, ok := client.Lookup[core.PersistentVolumeClaim](s.view, key)
	if !ok {
		return fmt.Errorf("claim %s is gone", key)
	}
	pv = object.Clone(pv)
	pv.Spec.ClaimRef = &core.ObjectReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: key.Namespace, Name: key.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
	}
	if pv.Annotations == nil {
		pv.Annotations = map[string]string{}
	}
	pv.Annotations["pv.kubernetes.io/bound-by-controller"] = "yes"
	if _, err := client.Update(ctx, s.api, pv); err != nil {
		return fmt.Errorf("choose volume %s for claim %s: %w", pv.Name, key, err)
	}
	return nil
}
