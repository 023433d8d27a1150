package scheduler

import (
	"fmt"
	"slices"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"proa.dev/client"
	kinds "proa.dev/kinds/storage"
	"proa.dev/object"
)

// claims is what the claims of a pod mean for its place.
type claims struct {
	view    client.View
	problem string                     // nothing can be done before this is over
	bound   []*reach                   // volumes that there are: each must take the node
	waiting []*unbound                 // claims that get a volume once a node is chosen, the smallest first
	drivers map[string]map[string]bool // handles of bound volumes, and claims that wait, by CSI driver
	single  []object.Key               // claims with ReadWriteOncePod
	inUse   func(*node) bool           // says for a node whether one of single is in use on another; nil: none is
}

// reach is where a volume can be used.
type reach struct {
	sel   *nodeaffinity.NodeSelector // nil: anywhere
	zones map[string]string          // labels that say where it is; values may be several, "a__b"
}

// unbound is a claim that waits for the choice of a node.
type unbound struct {
	key     object.Key
	claim   *core.PersistentVolumeClaim
	class   *storage.StorageClass
	volumes []candidate                // that fit, the smallest first
	sel     *nodeaffinity.NodeSelector // where volumes can be made; nil: anywhere
	room    []room                     // free space, where the driver says it
	tracked bool                       // ... and whether it does
}

// candidate is a free volume.
type candidate struct {
	pv  *core.PersistentVolume
	sel *nodeaffinity.NodeSelector
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
			c = &claims{view: view, drivers: map[string]map[string]bool{}}
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
		case v.Ephemeral != nil && !metav1.IsControlledBy(claim, pod):
			c.problem = fmt.Sprintf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", pod.Namespace, name, pod.Namespace, pod.Name)
		default:
			c.take(claim)
		}
		if c.problem != "" {
			return c
		}
	}
	if c != nil {
		slices.SortStableFunc(c.waiting, func(a, b *unbound) int {
			x, y := a.claim.Spec.Resources.Requests[core.ResourceStorage], b.claim.Spec.Resources.Requests[core.ResourceStorage]
			return x.Cmp(y)
		})
	}
	return c
}

func (c *claims) take(claim *core.PersistentVolumeClaim) {
	if slices.Contains(claim.Spec.AccessModes, core.ReadWriteOncePod) {
		c.single = append(c.single, object.KeyOf(claim))
	}
	if claim.Spec.VolumeName != "" {
		c.takeBound(claim)
		return
	}
	var class *storage.StorageClass
	if name := kinds.ClassOf(claim); name != "" {
		class, _ = client.Lookup[storage.StorageClass](c.view, object.Key{Name: name})
	}
	if class == nil || class.VolumeBindingMode == nil || *class.VolumeBindingMode != storage.VolumeBindingWaitForFirstConsumer {
		c.problem = "pod has unbound immediate PersistentVolumeClaims"
		return
	}
	u := &unbound{key: object.KeyOf(claim), claim: claim, class: class}
	c.waiting = append(c.waiting, u)
	if err := u.look(c.view); err != nil {
		c.problem = err.Error()
	}
	c.uses(class.Provisioner, u.key.String())
}

func (c *claims) takeBound(claim *core.PersistentVolumeClaim) {
	pv, ok := client.Lookup[core.PersistentVolume](c.view, object.Key{Name: claim.Spec.VolumeName})
	if !ok {
		c.problem = fmt.Sprintf("persistentvolume %q not found", claim.Spec.VolumeName)
		return
	}
	if claim.Status.Phase != core.ClaimBound {
		c.problem = "pod has unbound immediate PersistentVolumeClaims"
		return
	}
	r := &reach{zones: zonesOf(pv)}
	var err error
	if r.sel, err = selectorOf(pv); err != nil {
		c.problem = err.Error()
		return
	}
	if r.sel != nil || r.zones != nil {
		c.bound = append(c.bound, r)
	}
	if pv.Spec.CSI != nil {
		c.uses(pv.Spec.CSI.Driver, pv.Spec.CSI.VolumeHandle)
	}
}

func (c *claims) uses(driver, volume string) {
	if c.drivers[driver] == nil {
		c.drivers[driver] = map[string]bool{}
	}
	c.drivers[driver][volume] = true
}

func selectorOf(pv *core.PersistentVolume) (*nodeaffinity.NodeSelector, error) {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return nil, nil
	}
	sel, err := nodeaffinity.NewNodeSelector(pv.Spec.NodeAffinity.Required)
	if err != nil {
		return nil, fmt.Errorf("persistentvolume %q: %w", pv.Name, err)
	}
	return sel, nil
}

// look finds what the claim could get.
func (u *unbound) look(view client.View) error {
	sel := labels.Everything()
	if u.claim.Spec.Selector != nil {
		var err error
		if sel, err = metav1.LabelSelectorAsSelector(u.claim.Spec.Selector); err != nil {
			return err
		}
	}
	for _, pv := range client.ListOf[core.PersistentVolume](view, client.Select{}) {
		free := pv.Spec.ClaimRef == nil && sel.Matches(labels.Set(pv.Labels)) && pv.Status.Phase == core.VolumeAvailable
		if pv.DeletionTimestamp != nil || kinds.Fits(pv, u.claim) != "" || !free && !kinds.Meant(pv, u.claim) {
			continue
		}
		reach, err := selectorOf(pv)
		if err != nil {
			continue // it can be used nowhere
		}
		u.volumes = append(u.volumes, candidate{pv, reach})
	}
	slices.SortFunc(u.volumes, func(a, b candidate) int {
		switch x, y := kinds.Meant(a.pv, u.claim), kinds.Meant(b.pv, u.claim); {
		case x && !y:
			return -1
		case y && !x:
			return 1
		case kinds.Smaller(a.pv, b.pv):
			return -1
		}
		return 1
	})
	if from := localSource(view, u.claim, u.class); from != nil {
		var err error
		if u.sel, err = selectorOf(from); err != nil {
			return err
		}
	}
	if u.sel == nil && len(u.class.AllowedTopologies) > 0 {
		var err error
		if u.sel, err = nodeaffinity.NewNodeSelector(fromTopologies(u.class.AllowedTopologies)); err != nil {
			return fmt.Errorf("storageclass %q: %w", u.class.Name, err)
		}
	}
	u.room, u.tracked = capacities(view, u.class)
	return nil
}

// localSource is the volume that the claim's local volume is to be a copy of: it can be made on the same disk only. nil: of none.
func localSource(view client.View, c *core.PersistentVolumeClaim, class *storage.StorageClass) *core.PersistentVolume {
	d := c.Spec.DataSource
	if class.Provisioner != kinds.LocalDriver || d == nil || d.Kind != "PersistentVolumeClaim" {
		return nil
	}
	from, ok := client.Lookup[core.PersistentVolumeClaim](view, object.Key{Namespace: c.Namespace, Name: d.Name})
	if !ok || from.Spec.VolumeName == "" {
		return nil
	}
	pv, _ := client.Lookup[core.PersistentVolume](view, object.Key{Name: from.Spec.VolumeName})
	return pv
}

// noProvisioner is the provisioner of classes whose volumes people make.
const noProvisioner = "kubernetes.io/no-provisioner"

// match chooses volumes on a node for the claims that wait: free ones that there are, by claim; the others are to be made. The answer why
// that cannot be is "" where it can.
func (c *claims) match(n *core.Node) (chosen map[object.Key]*core.PersistentVolume, why string) {
	taken := map[string]bool{}
	for _, u := range c.waiting {
		node := u.claim.Annotations[selectedNode]
		if node != "" && node != n.Name { // it is being made elsewhere
			return nil, "node(s) didn't match PersistentVolume's node affinity"
		}
		i := slices.IndexFunc(u.volumes, func(v candidate) bool {
			return !taken[v.pv.Name] && (v.sel == nil || v.sel.Match(n))
		})
		switch {
		case i >= 0 && node == "":
			if chosen == nil {
				chosen = map[object.Key]*core.PersistentVolume{}
			}
			chosen[u.key] = u.volumes[i].pv
			taken[u.volumes[i].pv.Name] = true
		case u.class.Provisioner == noProvisioner, u.sel != nil && !u.sel.Match(n):
			return nil, "node(s) didn't find available persistent volumes to bind"
		case !u.hasRoom(n):
			return nil, "node(s) did not have enough free storage"
		}
	}
	return chosen, ""
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
	for _, r := range k.claims.bound {
		if r.sel != nil && !r.sel.Match(n.obj) {
			return k.no("node(s) didn't match PersistentVolume's node affinity", byVolume|byNode, false)
		}
	}
	if len(k.claims.waiting) == 0 {
		return nil
	}
	if _, why := k.claims.match(n.obj); why != "" {
		return k.no(why, byVolume|byNode, false)
	}
	return nil
}
