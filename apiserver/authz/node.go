package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	resource "k8s.io/api/resource/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/selection"

	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/object"
)

// Node decides for the agents of nodes: users system:node:<name> in the group system:nodes. Of what the role system:node permits,
// a node gets what concerns itself and the pods that are bound to it.
//
// Which objects those are is read from the View for each request: it has an index of pods by node, and a node has at most a few hundred.
// A graph of its own would be a second copy of what the View knows.
type Node struct {
	view  client.View
	rules []rbac.PolicyRule
}

// NewNode makes an authorizer that looks nodes' pods up in view.
func NewNode(view client.View) *Node {
	n := &Node{view: view}
	for _, o := range Bootstrap() {
		if r, ok := o.(*rbac.ClusterRole); ok && r.Name == "system:node" {
			n.rules = r.Rules
		}
	}
	return n
}

// Name is what reasons call it.
func (*Node) Name() string { return "node" }

// Authorize implements Authorizer. It has no opinion on other users.
func (n *Node) Authorize(_ context.Context, a Attributes) (Decision, error) {
	if !slices.Contains(a.User.Groups, authn.NodesGroup) {
		return Decision{}, nil
	}
	name, ok := strings.CutPrefix(a.User.Name, authn.NodePrefix)
	switch {
	case !ok:
		return Decision{}, nil
	case name == "":
		return Decision{Reason: fmt.Sprintf("unknown node for user %q", a.User.Name)}, nil
	}
	if a.ResourceRequest {
		if judge := judges[a.Group+"/"+a.Resource]; judge != nil {
			allowed, why := judge(n, name, &a)
			return Decision{Allowed: allowed, Reason: why}, nil
		}
	}
	return Decision{Allowed: slices.ContainsFunc(n.rules, func(r rbac.PolicyRule) bool { return allows(&r, &a) })}, nil
}

// RulesFor says that what nodes may do cannot be listed.
func (n *Node) RulesFor(user authn.User, _ string) ([]rbac.PolicyRule, error) {
	if strings.HasPrefix(user.Name, authn.NodePrefix) && slices.Contains(user.Groups, authn.NodesGroup) {
		return nil, errors.New("node authorizer does not support user rule resolution")
	}
	return nil, nil
}

// judges decide about the resources of which a node gets only its own part. They say whether it may, or why not.
var judges = map[string]func(n *Node, node string, a *Attributes) (bool, string){
	"/secrets":                         (*Node).reads,
	"/configmaps":                      (*Node).reads,
	"/persistentvolumeclaims":          (*Node).claim,
	"/persistentvolumes":               (*Node).gets,
	"resource.k8s.io/resourceclaims":   (*Node).gets,
	"storage.k8s.io/volumeattachments": (*Node).gets,
	"/serviceaccounts":                 (*Node).serviceAccount,
	"coordination.k8s.io/leases":       (*Node).lease,
	"storage.k8s.io/csinodes":          (*Node).csiNode,
	"resource.k8s.io/resourceslices":   (*Node).slice,
	"/nodes":                           (*Node).node,
	"/pods":                            (*Node).pod,

	"certificates.k8s.io/podcertificaterequests": (*Node).podRequest,
}

func is(verb string, one ...string) bool { return slices.Contains(one, verb) }

// selects says whether a request is limited to objects of this node by a field.
func selects(a *Attributes, field, node string) bool {
	for _, r := range a.Fields {
		if r.Field == field && r.Value == node && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) {
			return true
		}
	}
	return false
}

// related allows what a pod of the node refers to.
func (n *Node) related(node string, a *Attributes) (bool, string) {
	if a.Name == "" {
		return false, "No Object name found"
	}
	if n.uses(node, a.Resource, object.Key{Namespace: a.Namespace, Name: a.Name}) {
		return true, ""
	}
	return false, fmt.Sprintf("no relationship found between node '%s' and this object", node)
}

func (n *Node) reads(node string, a *Attributes) (bool, string) {
	switch {
	case !is(a.Verb, "get", "list", "watch"):
		return false, "can only read resources of this type"
	case a.Sub != "":
		return false, "cannot read subresource"
	case a.Namespace == "":
		return false, "can only read namespaced object of this type"
	}
	return n.related(node, a)
}

func (n *Node) gets(node string, a *Attributes) (bool, string) {
	switch {
	case a.Verb != "get":
		return false, "can only get individual resources of this type"
	case a.Sub != "":
		return false, "cannot get subresource"
	}
	return n.related(node, a)
}

// claim also lets a node follow a claim that a pod of it uses, which Kubernetes does not: it may be asked to grow at any time.
func (n *Node) claim(node string, a *Attributes) (bool, string) {
	if a.Sub == "" && is(a.Verb, "list", "watch") && a.Namespace != "" && a.Name != "" {
		if yes, _ := n.related(node, a); yes {
			return true, ""
		}
	}
	if a.Sub != "status" {
		return n.gets(node, a)
	}
	if !is(a.Verb, "update", "patch") {
		return false, "can only get/update/patch this type"
	}
	return n.related(node, a)
}

func (n *Node) serviceAccount(node string, a *Attributes) (bool, string) {
	switch {
	case a.Verb == "get" && a.Sub == "":
		return n.reads(node, a)
	case a.Verb != "create" || a.Name == "":
		return false, "can only create tokens for individual service accounts"
	case a.Sub != "token":
		return false, "can only create token subresource of serviceaccount"
	}
	return n.related(node, a)
}

func (n *Node) lease(node string, a *Attributes) (bool, string) {
	switch {
	case !is(a.Verb, "get", "create", "update", "patch", "delete"):
		return false, "can only get, create, update, patch, or delete a node lease"
	case a.Namespace != core.NamespaceNodeLease:
		return false, fmt.Sprintf("can only access leases in the %q system namespace", core.NamespaceNodeLease)
	case a.Verb != "create" && a.Name != node: // admission looks at the name of a new one
		return false, "can only access node lease with the same name as the requesting node"
	}
	return true, ""
}

func (n *Node) csiNode(node string, a *Attributes) (bool, string) {
	switch {
	case !is(a.Verb, "get", "create", "update", "patch", "delete"):
		return false, "can only get, create, update, patch, or delete a CSINode"
	case a.Sub != "":
		return false, "cannot authorize CSINode subresources"
	case a.Verb != "create" && a.Name != node:
		return false, "can only access CSINode with the same name as the requesting node"
	}
	return true, ""
}

func (n *Node) slice(node string, a *Attributes) (bool, string) {
	switch {
	case a.Sub != "":
		return false, "cannot authorize ResourceSlice subresources"
	case a.Verb == "create": // admission looks at its node
		return true, ""
	case is(a.Verb, "get", "update", "patch", "delete"):
		return n.related(node, a)
	case !is(a.Verb, "watch", "list", "deletecollection"):
		return false, "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
	case selects(a, resource.ResourceSliceSelectorNodeName, node):
		return true, ""
	}
	return false, "can only list/watch/deletecollection resourceslices with nodeName field selector"
}

func (n *Node) node(node string, a *Attributes) (bool, string) {
	switch {
	case a.Sub == "" && is(a.Verb, "create", "update", "patch"), a.Sub == "status" && is(a.Verb, "update", "patch"):
		return true, "" // admission knows which node it is
	case a.Sub != "" || !is(a.Verb, "get", "list", "watch"):
		return false, ""
	case a.Name == "":
		return false, fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node)
	case a.Name != node:
		return false, fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, a.Name)
	}
	return true, ""
}

func (n *Node) pod(node string, a *Attributes) (bool, string) {
	switch {
	case a.Sub == "" && is(a.Verb, "create", "delete"), a.Sub == "status" && is(a.Verb, "update", "patch"), a.Sub == "eviction" && a.Verb == "create":
		return true, "" // admission looks at the pod
	case a.Sub != "" || !is(a.Verb, "get", "list", "watch"):
		return false, ""
	case a.Verb == "get":
		return n.related(node, a)
	case selects(a, "spec.nodeName", node):
		return true, ""
	case a.Name != "":
		return n.related(node, a)
	}
	return false, "can only list/watch pods with spec.nodeName field selector"
}

func (n *Node) podRequest(node string, a *Attributes) (bool, string) {
	switch {
	case a.Sub != "":
		return false, "nodes may not access the status subresource of PodCertificateRequests"
	case a.Verb == "create": // admission looks at the pod
		return true, ""
	case a.Verb == "get":
		return n.related(node, a)
	case !is(a.Verb, "list", "watch"):
		return false, fmt.Sprintf("nodes may not %s podcertificaterequests", a.Verb)
	case selects(a, "spec.nodeName", node):
		return true, ""
	}
	return false, "can only list/watch podcertificaterequests with nodeName field selector"
}

// uses says whether the node has to do with an object: by a pod that is bound to it, or by the object itself.
func (n *Node) uses(node, kind string, key object.Key) bool {
	switch kind {
	case "pods":
		pod, ok := client.Lookup[core.Pod](n.view, key)
		return ok && pod.Spec.NodeName == node
	case "volumeattachments":
		at, ok := client.Lookup[storage.VolumeAttachment](n.view, object.Key{Name: key.Name})
		return ok && at.Spec.NodeName == node
	case "resourceslices":
		s, ok := client.Lookup[resource.ResourceSlice](n.view, object.Key{Name: key.Name})
		return ok && s.Spec.NodeName != nil && *s.Spec.NodeName == node
	case "podcertificaterequests":
		r, ok := client.Lookup[certificates.PodCertificateRequest](n.view, key)
		return ok && string(r.Spec.NodeName) == node
	case "persistentvolumes":
		pv, ok := client.Lookup[core.PersistentVolume](n.view, object.Key{Name: key.Name})
		return ok && pv.Spec.ClaimRef != nil && n.podUses(node, "persistentvolumeclaims", object.Key{Namespace: pv.Spec.ClaimRef.Namespace, Name: pv.Spec.ClaimRef.Name})
	}
	return n.podUses(node, kind, key) || kind == "secrets" && n.volumeUses(node, key)
}

// podUses says whether a pod of the node refers to the object. The copy of a static pod, which the node itself has made, gives no
// rights.
func (n *Node) podUses(node, kind string, key object.Key) bool {
	for _, pod := range client.ListOf[core.Pod](n.view, client.Select{Namespace: key.Namespace, Node: node}) {
		if _, mirror := pod.Annotations[core.MirrorPodAnnotationKey]; mirror {
			continue
		}
		for name := range refs(pod, kind) {
			if name == key.Name {
				return true
			}
		}
	}
	return false
}

// volumeUses says whether a volume of a pod of the node needs a secret to be mounted.
func (n *Node) volumeUses(node string, secret object.Key) bool {
	for _, pod := range client.ListOf[core.Pod](n.view, client.Select{Node: node}) {
		for name := range refs(pod, "persistentvolumeclaims") {
			claim := object.Key{Namespace: pod.Namespace, Name: name}
			pvc, ok := client.Lookup[core.PersistentVolumeClaim](n.view, claim)
			if !ok || pvc.Spec.VolumeName == "" {
				continue
			}
			pv, ok := client.Lookup[core.PersistentVolume](n.view, object.Key{Name: pvc.Spec.VolumeName})
			if ok && pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == claim.Namespace && pv.Spec.ClaimRef.Name == name && slices.Contains(volumeSecrets(pv), secret) {
				return true
			}
		}
	}
	return false
}
