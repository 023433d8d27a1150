package claim

import (
	"context"
	"fmt"
	"slices"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// claim takes back what nobody uses of one claim.
func (c *Controller) claim(ctx context.Context, key object.Key) (control.Again, error) {
	claim, ok := client.Lookup[resource.ResourceClaim](c.deps.View, key)
	if !ok {
		return control.Done, nil
	}
	users, err := c.remaining(ctx, claim)
	if err != nil {
		return control.Done, err
	}
	held := slices.Contains(claim.Finalizers, resource.Finalizer)
	n := object.Clone(claim)
	switch {
	case len(users) < len(claim.Status.ReservedFor):
		n.Status.ReservedFor = users
		if len(users) == 0 && held { // allocation is for use: the next user may want to be somewhere else
			n.Status.Allocation = nil
		}
		if n, err = client.UpdateStatus(ctx, c.deps.Client, n); err != nil {
			return control.Done, fmt.Errorf("update the users of claim %s: %w", key, err)
		}
		if n.Status.Allocation == nil {
			err = c.unhold(ctx, n)
		}
	case held && claim.DeletionTimestamp != nil && len(users) == 0:
		if n.Status.Allocation != nil {
			n.Status.Allocation = nil
			if n, err = client.UpdateStatus(ctx, c.deps.Client, n); err != nil {
				return control.Done, fmt.Errorf("deallocate claim %s: %w", key, err)
			}
		}
		err = c.unhold(ctx, n)
	}
	if err != nil || len(users) > 0 {
		return control.Done, err
	}
	return control.Done, c.dropUnused(ctx, claim)
}

// remaining are the users of a claim that still are, or may be. A pod that the View does not know may be so new that it does not yet: the API is
// asked.
func (c *Controller) remaining(ctx context.Context, claim *resource.ResourceClaim) ([]resource.ResourceClaimConsumerReference, error) {
	out := make([]resource.ResourceClaimConsumerReference, 0, len(claim.Status.ReservedFor))
	for _, u := range claim.Status.ReservedFor {
		if u.APIGroup == "" && u.Resource == "pods" {
			key := object.Key{Namespace: claim.Namespace, Name: u.Name}
			p, ok := client.Lookup[core.Pod](c.deps.View, key)
			if !ok {
				var err error
				if p, err = client.Get[core.Pod](ctx, c.deps.Client, key); err != nil && !apierrors.IsNotFound(err) {
					return nil, err
				}
				if err != nil {
					continue
				}
			}
			if p.UID != u.UID || over(p) {
				continue
			}
		}
		out = append(out, u)
	}
	return out, nil
}

// unhold takes the finalizer away by which allocated claims are kept.
func (c *Controller) unhold(ctx context.Context, claim *resource.ResourceClaim) error {
	i := slices.Index(claim.Finalizers, resource.Finalizer)
	if i < 0 {
		return nil
	}
	n := object.Clone(claim)
	n.Finalizers = slices.Delete(n.Finalizers, i, i+1)
	return control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Update, Object: n}})
}

// dropUnused deletes a claim that was made for a pod which will not run, although the pod itself may stay for long.
func (c *Controller) dropUnused(ctx context.Context, claim *resource.ResourceClaim) error {
	owner := metav1.GetControllerOfNoCopy(claim)
	if owner == nil || owner.Kind != "Pod" || owner.APIVersion != "v1" || claim.DeletionTimestamp != nil {
		return nil
	}
	p, ok := client.Lookup[core.Pod](c.deps.View, object.Key{Namespace: claim.Namespace, Name: owner.Name})
	if !ok || p.UID == owner.UID && !over(p) { // one that is gone is ownergc's business
		return nil
	}
	return control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Delete, Object: claim}})
}
