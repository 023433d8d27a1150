package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"

	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/object"
)

// Node decides for the agents of nodes: users system:node:<name> in the group system:nodes. Of what the role system:node permits,
// a node gets what concerns itself and the pods that are bound to it.
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
	// A node's agent is its service proxy and its DNS too; both read endpoints.
	n.rules = append(slices.Clip(n.rules), rbac.PolicyRule{
		Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"},
	})
	return n
}

// Authorize implements Authorizer. It has no opinion on other users.
func (n *Node) Authorize(_ context.Context, a Attributes) (Decision, error) {
	name, ok := nodeOf(a.User)
	if !ok || !slices.ContainsFunc(n.rules, func(r rbac.PolicyRule) bool { return allows(&r, &a) }) {
		return Decision{}, nil
	}
	if why := n.refuse(name, &a); why != "" {
		return Decision{Reason: why}, nil
	}
	return Decision{Allowed: true}, nil
}

func nodeOf(u authn.User) (string, bool) {
	name, ok := strings.CutPrefix(u.Name, authn.NodePrefix)
	return name, ok && name != "" && slices.Contains(u.Groups, authn.NodesGroup)
}

// refuse says why a request that the role permits does not concern this node; "" if it does.
func (n *Node) refuse(node string, a *Attributes) string {
	write := !slices.Contains([]string{"get", "list", "watch"}, a.Verb)
	switch a.resource() {
	case "nodes", "nodes/status", "csinodes":
		// The name in a create is checked by the kind's own admission, where the object is known.
		if write && a.Name != "" && a.Name != node {
			return fmt.Sprintf("node %q cannot modify node %q", node, a.Name)
		}
	case "leases":
		if a.Namespace != core.NamespaceNodeLease {
			return fmt.Sprintf("node %q can only use leases in %s", node, core.NamespaceNodeLease)
		}
		if a.Name != "" && a.Name != node {
			return fmt.Sprintf("node %q cannot use the lease of node %q", node, a.Name)
		}
	case "pods", "pods/status", "pods/eviction":
		if !write || a.Verb == "create" && a.Sub == "" {
			return ""
		}
		pod, ok := client.Lookup[core.Pod](n.view, object.Key{Namespace: a.Namespace, Name: a.Name})
		if ok && pod.Spec.NodeName != node {
			return fmt.Sprintf("node %q can only change pods that are bound to it", node)
		}
	case "secrets", "configmaps", "persistentvolumeclaims", "persistentvolumeclaims/status", "persistentvolumes", "serviceaccounts", "serviceaccounts/token":
		if a.Name == "" {
			return "No Object name found"
		}
		if !n.uses(node, a) {
			return fmt.Sprintf("no relationship found between node '%s' and this object", node)
		}
	}
	return ""
}

// uses says whether a pod of the node refers to the object.
func (n *Node) uses(node string, a *Attributes) bool {
	for _, pod := range client.ListOf[core.Pod](n.view, client.Select{Namespace: a.Namespace, Node: node}) {
		if a.Resource == "persistentvolumes" {
			for name := range refs(pod, "persistentvolumeclaims") {
				claim, ok := client.Lookup[core.PersistentVolumeClaim](n.view, object.Key{Namespace: pod.Namespace, Name: name})
				if ok && claim.Spec.VolumeName == a.Name {
					return true
				}
			}
			continue
		}
		for name := range refs(pod, a.Resource) {
			if name == a.Name {
				return true
			}
		}
	}
	return false
}

// refs are the names of the objects of a resource that a pod refers to.
func refs(pod *core.Pod, resource string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		ok := true
		say := func(kind, name string) {
			if ok && kind == resource && name != "" {
				ok = yield(name)
			}
		}
		say("serviceaccounts", pod.Spec.ServiceAccountName)
		for _, s := range pod.Spec.ImagePullSecrets {
			say("secrets", s.Name)
		}
		for i := range pod.Spec.Volumes {
			volumeRefs(pod, &pod.Spec.Volumes[i], say)
		}
		for _, c := range pod.Spec.InitContainers {
			envRefs(c.Env, c.EnvFrom, say)
		}
		for _, c := range pod.Spec.Containers {
			envRefs(c.Env, c.EnvFrom, say)
		}
		for _, c := range pod.Spec.EphemeralContainers {
			envRefs(c.Env, c.EnvFrom, say)
		}
	}
}

func envRefs(env []core.EnvVar, from []core.EnvFromSource, say func(kind, name string)) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			say("secrets", r.Name)
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			say("configmaps", r.Name)
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			say("secrets", f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			say("configmaps", f.ConfigMapRef.Name)
		}
	}
}

func volumeRefs(pod *core.Pod, v *core.Volume, say func(kind, name string)) {
	switch {
	case v.Secret != nil:
		say("secrets", v.Secret.SecretName)
	case v.ConfigMap != nil:
		say("configmaps", v.ConfigMap.Name)
	case v.PersistentVolumeClaim != nil:
		say("persistentvolumeclaims", v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		say("persistentvolumeclaims", pod.Name+"-"+v.Name)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				say("secrets", s.Secret.Name)
			}
			if s.ConfigMap != nil {
				say("configmaps", s.ConfigMap.Name)
			}
		}
	case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
		say("secrets", v.CSI.NodePublishSecretRef.Name)
	}
}
