package admission

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/object"
)

// nodePodRequest lets a node ask for certificates of the pods that run on it. What may only not be known here yet is no 403, so that the
// node tries again.
func (s *Start) nodePodRequest(ctx context.Context, r *Request, node string) error {
	q, ok := r.Object.(*certificates.PodCertificateRequest)
	switch {
	case r.Op != Create || !ok:
		return r.Forbid("unexpected operation %v", r.Op)
	case r.Sub != "":
		return r.Forbid("unexpected subresource %v", r.Sub)
	case string(q.Spec.NodeName) != node:
		return r.Forbid("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", q.Spec.NodeName, node)
	}
	podName := r.Key.Namespace + "/" + q.Spec.PodName
	n, ok := client.Lookup[core.Node](s.view, object.Key{Name: node})
	if !ok {
		return notYet("while retrieving node %q named in the PodCertificateRequest: node %q not found", node, node)
	}
	if n.UID != q.Spec.NodeUID {
		return notYet("PodCertificateRequest for pod %q names node UID %q, inconsistent with the running node (%q)", podName, q.Spec.NodeUID, n.UID)
	}
	pod, ok := client.Lookup[core.Pod](s.view, object.Key{Namespace: r.Key.Namespace, Name: q.Spec.PodName})
	switch {
	case !ok:
		return notYet("while retrieving pod %q named in the PodCertificateRequest: pod %q not found", podName, q.Spec.PodName)
	case q.Spec.PodUID != pod.UID:
		return notYet("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", podName, q.Spec.PodUID, pod.UID)
	case pod.Spec.NodeName != node:
		return r.Forbid("pod %q is not running on node %q named in the PodCertificateRequest", podName, q.Spec.NodeName)
	}
	if _, mirror := pod.Annotations[core.MirrorPodAnnotationKey]; mirror {
		return r.Forbid("pod %q is a mirror pod", podName)
	}
	account := q.Spec.ServiceAccountName
	if account != pod.Spec.ServiceAccountName {
		return r.Forbid("PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)", podName, account, pod.Spec.ServiceAccountName)
	}
	sa, ok := client.Lookup[core.ServiceAccount](s.view, object.Key{Namespace: r.Key.Namespace, Name: account})
	if !ok {
		return notYet("while retrieving service account %q named in the PodCertificateRequest: serviceaccount %q not found", r.Key.Namespace+"/"+account, account)
	}
	if q.Spec.ServiceAccountUID != sa.UID {
		return notYet("PodCertificateRequest for pod %q names service account UID %q, which differs from the running service account (%q)", podName, q.Spec.ServiceAccountUID, sa.UID)
	}
	return s.nodeSigner(ctx, r, q, pod)
}

// notYet is a 500 that says that another try may succeed.
func notYet(format string, args ...any) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: fmt.Sprintf(format, args...),
	}}
}

// nodeSigner wants a volume of the pod to name the signer, or the node to have a right to ask it for that account.
func (s *Start) nodeSigner(ctx context.Context, r *Request, q *certificates.PodCertificateRequest, pod *core.Pod) error {
	for i := range pod.Spec.Volumes {
		p := pod.Spec.Volumes[i].Projected
		if p != nil && slices.ContainsFunc(p.Sources, func(v core.VolumeProjection) bool {
			return v.PodCertificate != nil && v.PodCertificate.SignerName == q.Spec.SignerName
		}) {
			return nil
		}
	}
	d, err := s.deps.Authz.Authorize(ctx, authz.Attributes{
		User: r.User, Verb: "request-serviceaccounts-podcertificate-signer", Group: r.Served.Group, Version: r.Served.Version, Namespace: r.Key.Namespace,
		Resource: strings.ReplaceAll(q.Spec.SignerName, "/", ":"), Name: q.Spec.ServiceAccountName, ResourceRequest: true, // roles know no slashes
	})
	switch {
	case d.Allowed:
		return nil
	case err != nil:
		return r.Forbid("error authorizing %s to request podcertificaterequests for signer %q: %w", r.User.Name, q.Spec.SignerName, err)
	}
	return r.Forbid("pod %q does not mount a podCertificate projected volume for signer %q", r.Key.Namespace+"/"+q.Spec.PodName, q.Spec.SignerName)
}
