package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authentication "k8s.io/api/authentication/v1"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/diff"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/client"
	csr "proa.dev/kinds/certificates"
	"proa.dev/object"
)

// nodeRestriction limits what node agents may write to what their own node needs, where that takes a look at the object; the rest is
// the node authoriser's.
func (s *Start) nodeRestriction(ctx context.Context, r *Request) error {
	if !slices.Contains(r.User.Groups, authn.NodesGroup) {
		return nil
	}
	node, ok := strings.CutPrefix(r.User.Name, authn.NodePrefix)
	if !ok {
		return nil
	}
	if node == "" {
		return r.Forbid("could not determine node from user %q", r.User.Name)
	}
	switch r.Kind.Group + "/" + r.Kind.Kind {
	case "/Pod":
		return s.nodePod(r, node)
	case "/Node":
		return nodeNode(r, node)
	case "/PersistentVolumeClaim":
		return nodeClaim(r, node)
	case "/ServiceAccount":
		return s.nodeToken(ctx, r, node)
	case "coordination.k8s.io/Lease":
		if r.Key.Namespace != core.NamespaceNodeLease {
			return r.Forbid("can only access leases in the %q system namespace", core.NamespaceNodeLease)
		}
		return sameName(r, node, "node lease")
	case "storage.k8s.io/CSINode":
		return sameName(r, node, "CSINode")
	case "resource.k8s.io/ResourceSlice":
		return nodeSlice(r, node)
	case "certificates.k8s.io/CertificateSigningRequest":
		return nodeRequest(r, node)
	case "certificates.k8s.io/PodCertificateRequest":
		return s.nodePodRequest(ctx, r, node)
	}
	return nil
}

// sameName wants the object to be the one of the node.
func sameName(r *Request, node, what string) error {
	name := r.Key.Name
	if r.Op == Create {
		name = r.Object.GetName()
	}
	if name != node {
		return r.Forbid("can only access %s with the same name as the requesting node", what)
	}
	return nil
}

func (s *Start) nodePod(r *Request, node string) error {
	switch r.Sub {
	case "":
	case "status":
		return nodePodStatus(r, node)
	case "eviction":
		pod, ok := client.Lookup[core.Pod](s.view, r.Key)
		if !ok {
			return apierrors.NewNotFound(core.Resource("pods"), r.Key.Name)
		}
		if pod.Spec.NodeName != node {
			return r.Forbid("node %s can only evict pods with spec.nodeName set to itself", node)
		}
		return nil
	default:
		return r.Forbid("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.Sub)
	}
	switch r.Op {
	case Create:
		return s.nodeMirror(r, node)
	case Delete:
		if pod, ok := r.Old.(*core.Pod); ok && pod.Spec.NodeName != node {
			return r.Forbid("node %q can only delete pods with spec.nodeName set to itself", node)
		}
		return nil
	}
	return r.Forbid("unexpected operation %q, node %q can only create and delete mirror pods", r.Op, node)
}

func nodePodStatus(r *Request, node string) error {
	if r.Op != Update {
		return r.Forbid("unexpected operation %q", r.Op)
	}
	old, now := r.Old.(*core.Pod), r.Object.(*core.Pod)
	switch {
	case old.Spec.NodeName != node:
		return r.Forbid("node %q can only update pod status for pods with spec.nodeName set to itself", node)
	case !maps.Equal(old.Labels, now.Labels):
		return r.Forbid("node %q cannot update labels through pod status", node)
	case !equality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, now.Status.ResourceClaimStatuses):
		return r.Forbid("node %q cannot update resource claim statues", node)
	case !equality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, now.Status.ExtendedResourceClaimStatus):
		return r.Forbid("node %q cannot update extended resource claim status", node)
	}
	return nil
}

// nodeMirror lets a node create the copy of a static pod, which refers to nothing.
func (s *Start) nodeMirror(r *Request, node string) error {
	pod := r.Object.(*core.Pod)
	if _, mirror := pod.Annotations[core.MirrorPodAnnotationKey]; !mirror {
		return r.Forbid("pod does not have %q annotation, node %q can only create mirror pods", core.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return r.Forbid("node %q can only create pods with spec.nodeName set to itself", node)
	}
	if len(pod.OwnerReferences) > 1 {
		return r.Forbid("node %q can only create pods with a single owner reference set to itself", node)
	}
	if len(pod.OwnerReferences) == 0 {
		return r.Forbid("node %q can only create pods with an owner reference set to itself", node)
	}
	ref := pod.OwnerReferences[0]
	switch {
	case ref.APIVersion != "v1" || ref.Kind != "Node" || ref.Name != node:
		return r.Forbid("node %q can only create pods with an owner reference set to itself", node)
	case ref.Controller == nil || !*ref.Controller:
		return r.Forbid("node %q can only create pods with a controller owner reference set to itself", node)
	case ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion:
		return r.Forbid("node %q must not set blockOwnerDeletion on an owner reference", node)
	}
	n, ok := client.Lookup[core.Node](s.view, object.Key{Name: node})
	if !ok {
		return apierrors.NewNotFound(core.Resource("nodes"), node)
	}
	if ref.UID != n.UID {
		return r.Forbid("node %s UID mismatch: expected %s got %s", node, ref.UID, n.UID)
	}
	if what := authz.Refers(pod); what != "" {
		return r.Forbid("node %q can not create pods that reference %s", node, what)
	}
	return nil
}

// nodeClaim lets a node say how large a claim's volume has become, and no more.
func nodeClaim(r *Request, node string) error {
	if r.Sub != "status" {
		return r.Forbid("may only update PVC status")
	}
	if r.Op != Update {
		return r.Forbid("unexpected operation %q", r.Op)
	}
	rest := func(o object.Object) *core.PersistentVolumeClaim {
		c := o.DeepCopyObject().(*core.PersistentVolumeClaim)
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions, c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil, nil, nil
		return c
	}
	old, now := rest(r.Old), rest(r.Object)
	if !equality.Semantic.DeepEqual(old, now) {
		return r.Forbid("node %q is not allowed to update fields other than status.quantity and status.conditions: %v", node, diff.Diff(old, now))
	}
	return nil
}

func nodeSlice(r *Request, node string) error {
	own := func(o object.Object) bool {
		s, ok := o.(*resource.ResourceSlice)
		return ok && s.Spec.NodeName != nil && *s.Spec.NodeName == node
	}
	switch {
	case r.Op == Create && !own(r.Object):
		return r.Forbid("can only create ResourceSlice with the same NodeName as the requesting node")
	case r.Op == Delete && !own(r.Old):
		return r.Forbid("can only delete ResourceSlice with the same NodeName as the requesting node")
	}
	return nil
}

// nodeRequest lets a node ask for certificates of its own name only.
func nodeRequest(r *Request, node string) error {
	q, ok := r.Object.(*certificates.CertificateSigningRequest)
	if !ok || r.Op != Create || q.Spec.SignerName != certificates.KubeletServingSignerName && q.Spec.SignerName != certificates.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	parsed, err := csr.Parse(q.Spec.Request)
	if err != nil {
		return r.Forbid("unable to parse csr: %v", err)
	}
	if parsed.Subject.CommonName != authn.NodePrefix+node {
		return r.Forbid("can only create a node CSR with CN=%s", authn.NodePrefix+node)
	}
	return nil
}

// nodeToken lets a node ask for tokens that are bound to a pod that runs on it, for the audiences that the pod's volumes name.
func (s *Start) nodeToken(ctx context.Context, r *Request, node string) error {
	req, ok := r.Object.(*authentication.TokenRequest)
	if !ok || r.Op != Create || r.Sub != "token" {
		return nil
	}
	ref := req.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return r.Forbid("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return r.Forbid("node requested token with a pod binding without a uid")
	}
	pod, ok := client.Lookup[core.Pod](s.view, object.Key{Namespace: r.Key.Namespace, Name: ref.Name})
	switch {
	case !ok:
		return apierrors.NewNotFound(core.Resource("pods"), ref.Name)
	case pod.UID != ref.UID:
		return r.Forbid("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case pod.Spec.NodeName != node:
		return r.Forbid("node requested token bound to a pod scheduled on a different node")
	}
	if err := s.nodeAudience(ctx, r, req, pod); err != nil {
		return r.Forbid("%v", err)
	}
	return nil
}

// nodeAudience wants one audience, which a volume of the pod or its driver names, or which the node has a right to ask for.
func (s *Start) nodeAudience(ctx context.Context, r *Request, req *authentication.TokenRequest, pod *core.Pod) error {
	audience := ""
	switch asked := req.Spec.Audiences; {
	case len(asked) > 1:
		return fmt.Errorf("node may only request 0 or 1 audiences")
	case len(asked) == 1:
		audience = asked[0]
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if names(v, audience) || s.driverNames(pod, v, audience) {
			return nil
		}
	}
	d, err := s.deps.Authz.Authorize(ctx, authz.Attributes{User: r.User, Verb: "request-serviceaccounts-token-audience", Namespace: r.Key.Namespace,
		Version: "v1", Resource: audience, Name: r.Key.Name, ResourceRequest: true})
	switch {
	case d.Allowed:
		return nil
	case err != nil:
		return fmt.Errorf("audience %q not found in pod spec volume, error authorizing %s to request tokens for this audience: %w", audience, r.User.Name, err)
	}
	return fmt.Errorf("audience %q not found in pod spec volume, %s is not authorized to request tokens for this audience", audience, r.User.Name)
}

// names says whether a projected volume has a token for the audience.
func names(v *core.Volume, audience string) bool {
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(p core.VolumeProjection) bool {
		return p.ServiceAccountToken != nil && p.ServiceAccountToken.Audience == audience
	})
}
