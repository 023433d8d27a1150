package claim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// pod makes the claims of one pod that come from templates, and reserves what it has.
func (c *Controller) pod(ctx context.Context, key object.Key) (control.Again, error) {
	p, ok := client.Lookup[core.Pod](c.deps.View, key)
	if !ok || p.DeletionTimestamp != nil || over(p) {
		return control.Done, nil
	}
	made := map[string]string{}
	for i := range p.Spec.ResourceClaims {
		one := &p.Spec.ResourceClaims[i]
		name, err := c.make(ctx, p, one)
		if err != nil {
			c.deps.Events.Event(p, core.EventTypeWarning, "FailedResourceClaimCreation", "PodResourceClaim %s: %v", one.Name, err)
			return control.Done, fmt.Errorf("pod %s, PodResourceClaim %s: %w", key, one.Name, err)
		}
		if name != "" {
			made[one.Name] = name
		}
	}
	if len(made) > 0 {
		return control.Done, c.tell(ctx, p, made) // the pod comes again with it
	}
	if p.Spec.NodeName == "" {
		return control.Done, nil // the scheduler reserves
	}
	for i := range p.Spec.ResourceClaims {
		if err := c.reserve(ctx, p, &p.Spec.ResourceClaims[i]); err != nil {
			return control.Done, err
		}
	}
	return control.Done, nil
}

// make makes one claim of a template, unless it is there. The answer is the claim's name if the pod's status does not have it yet.
func (c *Controller) make(ctx context.Context, p *core.Pod, one *core.PodResourceClaim) (string, error) {
	if one.ResourceClaimTemplateName == nil {
		return "", nil
	}
	name, own, err := resourceclaim.Name(p, one)
	switch {
	case errors.Is(err, resourceclaim.ErrClaimNotFound):
	case err != nil:
		return "", fmt.Errorf("checking for claim before creating it: %w", err)
	case name == nil:
		return "", nil
	default:
		have, ok := client.Lookup[resource.ResourceClaim](c.deps.View, object.Key{Namespace: p.Namespace, Name: *name})
		if ok && (!own || resourceclaim.IsForPod(p, have, false) == nil) {
			return "", nil
		}
	}
	for _, have := range client.Owned[resource.ResourceClaim](c.deps.View, p) { // made, but not told
		if have.Annotations[resource.PodResourceClaimAnnotation] == one.Name && metav1.IsControlledBy(have, p) && have.DeletionTimestamp == nil {
			return have.Name, nil
		}
	}
	t, ok := client.Lookup[resource.ResourceClaimTemplate](c.deps.View, object.Key{Namespace: p.Namespace, Name: *one.ResourceClaimTemplateName})
	if !ok {
		return "", fmt.Errorf("resource claim template %q: resourceclaimtemplate.resource.k8s.io %q not found", *one.ResourceClaimTemplateName, *one.ResourceClaimTemplateName)
	}
	made, err := client.Create(ctx, c.deps.Client, fromTemplate(p, one.Name, t))
	if err != nil {
		return "", fmt.Errorf("create ResourceClaim : %w", err)
	}
	return made.Name, nil
}

// maxBase leaves room for a hyphen and five random characters in a name of 63.
const maxBase = 57

func fromTemplate(p *core.Pod, name string, t *resource.ResourceClaimTemplate) *resource.ResourceClaim {
	generate := p.Name + "-" + name + "-"
	if n := len(generate); n > maxBase { // both parts are cut, so that both can be seen
		generate = p.Name[:len(p.Name)*maxBase/n] + "-" + name[:len(name)*maxBase/n]
	}
	annotations := maps.Clone(t.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resource.PodResourceClaimAnnotation] = name
	yes := true
	return &resource.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, GenerateName: generate, Annotations: annotations, Labels: maps.Clone(t.Spec.Labels),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID, Controller: &yes}},
		},
		Spec: *t.Spec.Spec.DeepCopy(),
	}
}

// tell names claims in the pod's status.
func (c *Controller) tell(ctx context.Context, p *core.Pod, made map[string]string) error {
	all := map[string]string{}
	for _, s := range p.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			all[s.Name] = *s.ResourceClaimName
		}
	}
	maps.Copy(all, made)
	var statuses []core.PodResourceClaimStatus
	for _, name := range slices.SortedFunc(maps.Keys(all), strings.Compare) {
		claim := all[name]
		statuses = append(statuses, core.PodResourceClaimStatus{Name: name, ResourceClaimName: &claim})
	}
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.UID}, "status": map[string]any{"resourceClaimStatuses": statuses},
	})
	if err != nil {
		return err
	}
	return control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{
		Op: control.Patch, Object: p, Sub: "status", Patch: client.Patch{Type: types.StrategicMergePatchType, Data: data},
	}})
}

// reserve adds a pod to the users of a claim that is allocated: somebody other than our scheduler gave it its node.
func (c *Controller) reserve(ctx context.Context, p *core.Pod, one *core.PodResourceClaim) error {
	name, own, err := resourceclaim.Name(p, one)
	if err != nil || name == nil {
		return err
	}
	claim, ok := client.Lookup[resource.ResourceClaim](c.deps.View, object.Key{Namespace: p.Namespace, Name: *name})
	if !ok {
		return nil // comes, or is the user's business
	}
	if own {
		if err := resourceclaim.IsForPod(p, claim, false); err != nil {
			return err
		}
	}
	if claim.Status.Allocation == nil || resourceclaim.IsReservedForPod(p, claim, false) || !resourceclaim.CanBeReserved(claim) {
		return nil
	}
	n := object.Clone(claim)
	n.Status.ReservedFor = append(n.Status.ReservedFor, resource.ResourceClaimConsumerReference{Resource: "pods", Name: p.Name, UID: p.UID})
	return control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Status, Object: n}})
}
