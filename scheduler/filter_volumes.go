package scheduler

import (
	"fmt"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"proa.dev/client"
	"proa.dev/object"
)

// claims is what the claims of a pod mean for its place.
type claims struct {
	problem string                       // nothing can be done before this is over
	reach   []*nodeaffinity.NodeSelector // of bound volumes: each must take the node
	zones   []*nodeaffinity.NodeSelector // of storage classes of claims that wait: where volumes can be made
	waiting []object.Key                 // claims that are bound once a node is chosen
}

// findClaims looks the claims of a pod up.
func findClaims(view client.View, pod *core.Pod) *claims {
	var c *claims
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		name := ""
		switch {
		case v.PersistentVolumeClaim != nil:
			name = v.PersistentVolumeClaim.ClaimName
		case v.Ephemeral != nil:
			name = pod.Name + "-" + v.Name
		default:
			continue
		}
		if c == nil {
			c = &claims{}
		}
		key := object.Key{Namespace: pod.Namespace, Name: name}
		claim, ok := client.Lookup[core.PersistentVolumeClaim](view, key)
		switch {
		case !ok && v.Ephemeral != nil:
			c.problem = fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
		case !ok:
			c.problem = fmt.Sprintf("persistentvolumeclaim %q not found", name)
		case claim.Status.Phase == core.ClaimLost:
			c.problem = fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName)
		case claim.DeletionTimestamp != nil:
			c.problem = fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
		default:
			c.take(view, claim)
		}
		if c.problem != "" {
			return c
		}
	}
	return c
}

func (c *claims) take(view client.View, claim *core.PersistentVolumeClaim) {
	if claim.Spec.VolumeName != "" {
		pv, ok := client.Lookup[core.PersistentVolume](view, object.Key{Name: claim.Spec.VolumeName})
		if !ok {
			c.problem = fmt.Sprintf("persistentvolume %q not found", claim.Spec.VolumeName)
			return
		}
		if pv.Spec.NodeAffinity != nil && pv.Spec.NodeAffinity.Required != nil {
			sel, err := nodeaffinity.NewNodeSelector(pv.Spec.NodeAffinity.Required)
			if err != nil {
				c.problem = fmt.Sprintf("persistentvolume %q: %v", pv.Name, err)
				return
			}
			c.reach = append(c.reach, sel)
		}
		return
	}
	var class *storage.StorageClass
	if name := claim.Spec.StorageClassName; name != nil && *name != "" {
		class, _ = client.Lookup[storage.StorageClass](view, object.Key{Name: *name})
	}
	if class == nil || class.VolumeBindingMode == nil || *class.VolumeBindingMode != storage.VolumeBindingWaitForFirstConsumer {
		c.problem = "pod has unbound immediate PersistentVolumeClaims"
		return
	}
	c.waiting = append(c.waiting, object.KeyOf(claim))
	if len(class.AllowedTopologies) > 0 {
		sel, err := nodeaffinity.NewNodeSelector(fromTopologies(class.AllowedTopologies))
		if err != nil {
			c.problem = fmt.Sprintf("storageclass %q: %v", class.Name, err)
			return
		}
		c.zones = append(c.zones, sel)
	}
}

// fromTopologies says the same as terms of a node selector.
func fromTopologies(terms []core.TopologySelectorTerm) *core.NodeSelector {
	sel := &core.NodeSelector{}
	for _, t := range terms {
		var term core.NodeSelectorTerm
		for _, e := range t.MatchLabelExpressions {
			term.MatchExpressions = append(term.MatchExpressions,
				core.NodeSelectorRequirement{Key: e.Key, Operator: core.NodeSelectorOpIn, Values: e.Values})
		}
		sel.NodeSelectorTerms = append(sel.NodeSelectorTerms, term)
	}
	return sel
}

// volumes keeps a pod where its volumes can be.
func volumes(k *class, n *node) *verdict {
	if k.claims == nil {
		return nil
	}
	for _, sel := range k.claims.reach {
		if !sel.Match(n.obj) {
			return k.no("node(s) didn't match PersistentVolume's node affinity", byVolume|byNode, false)
		}
	}
	for _, sel := range k.claims.zones {
		if !sel.Match(n.obj) {
			return k.no("node(s) didn't find available persistent volumes to bind", byVolume|byNode, false)
		}
	}
	return nil
}
