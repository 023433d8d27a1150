package localvolume

import (
	"encoding/json"
	"fmt"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/control"
	kinds "proa.dev/kinds/storage"
	"proa.dev/object"
)

// origin is what a claim is to be a copy of, as far as it is there.
type origin struct {
	name   string
	claim  *core.PersistentVolumeClaim
	volume *core.PersistentVolume
}

// cloned is the name of the claim that a claim is to be a copy of; "" is none.
func cloned(c *core.PersistentVolumeClaim) string {
	if d := c.Spec.DataSource; d != nil && d.Kind == "PersistentVolumeClaim" && (d.APIGroup == nil || *d.APIGroup == "") {
		return d.Name
	}
	return ""
}

// originOf finds what a claim is to be a copy of; nil: of nothing.
func originOf(view client.View, c *core.PersistentVolumeClaim) *origin {
	name := cloned(c)
	if name == "" {
		return nil
	}
	o := &origin{name: name}
	if o.claim, _ = client.Lookup[core.PersistentVolumeClaim](view, object.Key{Namespace: c.Namespace, Name: name}); o.claim != nil {
		o.volume, _ = client.Lookup[core.PersistentVolume](view, object.Key{Name: o.claim.Spec.VolumeName})
	}
	return o
}

// unfit says why a claim cannot be a copy of it on the node, or ""; elsewhere says that it could be on another node.
func (o *origin) unfit(c *core.PersistentVolumeClaim, n *core.Node) (why string, elsewhere bool) {
	switch {
	case o.claim == nil:
		return fmt.Sprintf("claim %q, which it is to be a copy of, is not there", o.name), false
	case o.claim.DeletionTimestamp != nil:
		return fmt.Sprintf("claim %q, which it is to be a copy of, is being deleted", o.name), false
	case o.claim.Status.Phase != core.ClaimBound || o.volume == nil:
		return fmt.Sprintf("claim %q, which it is to be a copy of, has no volume yet", o.name), false
	case o.volume.Spec.CSI == nil || o.volume.Spec.CSI.Driver != kinds.LocalDriver:
		return fmt.Sprintf("claim %q, which it is to be a copy of, has no local volume", o.name), false
	}
	want, have := c.Spec.Resources.Requests[core.ResourceStorage], o.volume.Spec.Capacity[core.ResourceStorage]
	if want.Cmp(have) < 0 {
		return fmt.Sprintf("new PVC request must be greater than or equal in size to the specified PVC data source, requested %d but source is %d", want.Value(), have.Value()), false
	}
	if host := hostOf(o.volume); host != nameOnDisk(n) {
		return fmt.Sprintf("claim %q, which it is to be a copy of, is on node %s", o.name, host), true
	}
	return "", false
}

// nameOnDisk is what a node's volumes are tied to.
func nameOnDisk(n *core.Node) string {
	if host := n.Labels[core.LabelHostname]; host != "" {
		return host
	}
	return n.Name
}

// planCopy orders the copy of a claim's volume from its node; made says that it is there, why that the node cannot make it now.
func planCopy(c *core.PersistentVolumeClaim, n *core.Node, from *origin, enforced bool) (changes []control.Change, made bool, why string) {
	orders, handle := kinds.LocalOrders(n), volumeName(c)
	if o, asked := orders[handle]; !asked || o.Drop {
		size := c.Spec.Resources.Requests[core.ResourceStorage]
		orders[handle] = kinds.LocalOrder{From: from.volume.Spec.CSI.VolumeHandle, Bytes: size.Value(), Enforced: enforced, Claim: object.KeyOf(c).String()}
		return []control.Change{order(n, orders)}, false, ""
	}
	said, answered := kinds.LocalAnswers(n)[handle]
	if answered && said != "" && said != kinds.LocalDropped {
		return nil, false, said
	}
	return nil, answered && said == "", ""
}

// planOrders takes back the orders for a claim, of which now is what is left: those that came true, and those that nobody wants any more, of which
// the node drops what it has. there says whether there is a volume.
func planOrders(n *core.Node, key object.Key, now *core.PersistentVolumeClaim, there func(handle string) bool) []control.Change {
	orders, changed := kinds.LocalOrders(n), false
	for handle, o := range orders {
		if o.Claim != key.String() || now != nil && volumeName(now) == handle && now.Spec.VolumeName == "" && now.DeletionTimestamp == nil && !there(handle) {
			continue
		}
		switch {
		case there(handle), o.Drop && kinds.LocalAnswers(n)[handle] == kinds.LocalDropped:
			delete(orders, handle)
		case o.Drop:
			continue
		default:
			o.Drop = true
			orders[handle] = o
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return []control.Change{order(n, orders)}
}

// order writes the orders of a node that is still as it was seen.
func order(n *core.Node, orders map[string]kinds.LocalOrder) control.Change {
	var value any
	if len(orders) > 0 {
		text, err := json.Marshal(orders)
		if err != nil {
			panic(err) // strings and numbers always marshal
		}
		value = string(text)
	}
	return patchNode(n, kinds.LocalCopy, value)
}

// patchNode writes an annotation of a node that is still as it was seen; nil takes it away.
func patchNode(n *core.Node, key string, value any) control.Change {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": n.ResourceVersion, "annotations": map[string]any{key: value}}})
	if err != nil {
		panic(err) // strings always marshal
	}
	return control.Change{Op: control.Patch, Object: n, Patch: client.Patch{Type: types.MergePatchType, Data: patch}}
}

// copying says whether the node is still at a copy of a volume, which has to stay so long.
func copying(n *core.Node, handle string) bool {
	answers := kinds.LocalAnswers(n)
	for to, o := range kinds.LocalOrders(n) {
		if _, answered := answers[to]; o.From == handle && !o.Drop && !answered {
			return true
		}
	}
	return false
}
