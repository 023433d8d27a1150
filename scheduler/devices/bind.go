package devices

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// Decision is what has to be in the API before the pod is bound.
type Decision struct {
	pod      *core.Pod
	writes   []write
	extended *extended
}

// write is the part of one claim.
type write struct {
	claim      *resource.ResourceClaim
	allocation *resource.AllocationResult // nil: it has one
	made       *resource.ResourceClaim    // what the API answered
}

// attempts bounds how often a claim is written again that others write, too.
const attempts = 5

// Write allocates and reserves the claims, and waits until devices that have to be attached are.
func (d *Decision) Write(ctx context.Context, api client.Client, view client.View, waits func()) error {
	for i := range d.writes {
		w := &d.writes[i]
		if err := d.one(ctx, api, w); err != nil {
			return err
		}
	}
	return d.await(ctx, api, view, waits)
}

func (d *Decision) one(ctx context.Context, api client.Client, w *write) error {
	c := w.claim
	if c.Name == inMemory {
		fresh := object.Clone(c)
		fresh.Name, fresh.UID = "", ""
		made, err := client.Create(ctx, api, fresh)
		if err != nil {
			return fmt.Errorf("create claim for extended resources %s: %w", object.KeyOf(c), err)
		}
		c, w.made = made, made
	}
	for n := 0; ; n++ {
		made, err := d.update(ctx, api, c, w.allocation)
		if err == nil {
			w.made = made
			break
		}
		if !apierrors.IsConflict(err) || n == attempts {
			return err
		}
		if c, err = client.Get[resource.ResourceClaim](ctx, api, object.KeyOf(c)); err != nil {
			return fmt.Errorf("get updated claim %s after conflict: %w", object.KeyOf(w.claim), err)
		}
	}
	if d.extended != nil && w.claim == d.extended.claim {
		return d.show(ctx, api, w.made)
	}
	return nil
}

func (d *Decision) update(ctx context.Context, api client.Client, c *resource.ResourceClaim, a *resource.AllocationResult) (*resource.ResourceClaim, error) {
	if c.DeletionTimestamp != nil {
		return nil, fmt.Errorf("claim %s got deleted in the meantime", object.KeyOf(c))
	}
	c = object.Clone(c)
	switch {
	case a != nil && c.Status.Allocation != nil:
		return nil, fmt.Errorf("claim %s got allocated elsewhere in the meantime", object.KeyOf(c))
	case a != nil:
		if !slices.Contains(c.Finalizers, resource.Finalizer) {
			c.Finalizers = append(c.Finalizers, resource.Finalizer)
			made, err := client.Update(ctx, api, c)
			if err != nil {
				return nil, fmt.Errorf("add finalizer to claim %s: %w", object.KeyOf(c), err)
			}
			c = object.Clone(made)
		}
		c.Status.Allocation = a.DeepCopy()
	case c.Status.Allocation == nil:
		return nil, fmt.Errorf("claim %s got deallocated elsewhere in the meantime", object.KeyOf(c))
	}
	if c.Status.Allocation.AllocationTimestamp == nil {
		now := metav1.Now()
		c.Status.Allocation.AllocationTimestamp = &now
	}
	if !slices.ContainsFunc(c.Status.ReservedFor, func(r resource.ResourceClaimConsumerReference) bool { return r.UID == d.pod.UID }) {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resource.ResourceClaimConsumerReference{Resource: "pods", Name: d.pod.Name, UID: d.pod.UID})
	}
	made, err := client.UpdateStatus(ctx, api, c)
	if err != nil {
		return nil, fmt.Errorf("add allocation and reservation to claim %s: %w", object.KeyOf(c), err)
	}
	return made, nil
}

// show names the claim for extended resources in the pod's status, where the kubelet looks for it.
func (d *Decision) show(ctx context.Context, api client.Client, c *resource.ResourceClaim) error {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": d.pod.UID}, "status": map[string]any{
		"extendedResourceClaimStatus": core.PodExtendedResourceClaimStatus{ResourceClaimName: c.Name, RequestMappings: d.extended.mappings},
	}})
	if err != nil {
		return err
	}
	t := client.TargetOf[core.Pod](object.KeyOf(d.pod))
	t.Sub = "status"
	if _, err := api.Patch(ctx, t, client.Patch{Type: types.StrategicMergePatchType, Data: data}, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("update pod %s ExtendedResourceClaimStatus: %w", object.KeyOf(d.pod), err)
	}
	return nil
}

// await waits for devices that have to be attached to the node first. waits is called once it has to.
func (d *Decision) await(ctx context.Context, api client.Client, view client.View, waits func()) error {
	left := map[types.UID]bool{}
	for i := range d.writes {
		if c := d.writes[i].made; c != nil && !isAttached(c) {
			left[c.UID] = true
		}
	}
	if len(left) == 0 {
		return nil
	}
	waits()
	limited, cancel := context.WithTimeout(ctx, bindWithin)
	defer cancel()
	var failed error
	err := client.Watch(limited, view, func(t client.EventType, c, _ *resource.ResourceClaim) {
		if t == client.Synced || !left[c.UID] {
			return
		}
		ready, err := attached(c)
		switch {
		case t == client.Deleted:
			failed = fmt.Errorf("claim %s was deleted", object.KeyOf(c))
		case err != nil:
			failed = err
		case ready:
			delete(left, c.UID)
		}
		if failed != nil || len(left) == 0 {
			cancel()
		}
	})
	switch {
	case failed != nil:
		return failed
	case len(left) == 0:
		return nil
	case ctx.Err() == nil && limited.Err() != nil:
		return fmt.Errorf("device binding timeout: %w", context.DeadlineExceeded)
	}
	return err
}

// Undo takes back reservations of a pod that was not bound after all. What was allocated stays, as it would for any claim; a claim for extended
// resources is removed.
func (d *Decision) Undo(ctx context.Context, api client.Client) error {
	for i := range d.writes {
		w := &d.writes[i]
		if w.made == nil {
			continue
		}
		if d.extended != nil && w.claim == d.extended.claim {
			if err := Free(ctx, api, w.made); err != nil {
				return err
			}
			continue
		}
		data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.made.UID}, "status": map[string]any{
			"reservedFor": []map[string]any{{"$patch": "delete", "uid": d.pod.UID}},
		}})
		if err != nil {
			return err
		}
		t := client.TargetOf[resource.ResourceClaim](object.KeyOf(w.made))
		t.Sub = "status"
		_, err = api.Patch(ctx, t, client.Patch{Type: types.StrategicMergePatchType, Data: data}, metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("unreserve claim %s: %w", object.KeyOf(w.made), err)
		}
	}
	return nil
}

// Free takes the devices away from a claim that nobody uses. One that was made for extended resources goes altogether.
func Free(ctx context.Context, api client.Client, c *resource.ResourceClaim) error {
	gone := c.Annotations[resource.ExtendedResourceClaimAnnotation] == "true"
	c, err := client.Get[resource.ResourceClaim](ctx, api, object.KeyOf(c))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	c = object.Clone(c)
	if !gone {
		c.Status.ReservedFor, c.Status.Allocation, c.Status.Devices = nil, nil, nil
		_, err = client.UpdateStatus(ctx, api, c)
		return err
	}
	if i := slices.Index(c.Finalizers, resource.Finalizer); i >= 0 {
		c.Finalizers = slices.Delete(c.Finalizers, i, i+1)
		if _, err := client.Update(ctx, api, c); err != nil {
			return fmt.Errorf("update resourceclaim %s: %w", object.KeyOf(c), err)
		}
	}
	if err := client.Delete[resource.ResourceClaim](ctx, api, object.KeyOf(c), c.UID); !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// Limit is how long a Write may take.
const Limit = bindWithin + time.Minute
