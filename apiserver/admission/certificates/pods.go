package certificates

import (
	"context"
	"fmt"

	certificates "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/admission"
)

// attest lets those write what a signer's certificates are checked against who may attest for the signer.
func (p plugin) attest(ctx context.Context, r *admission.Request) error {
	if r.Op != admission.Create && r.Op != admission.Update || !r.Is(certificates.GroupName, "clustertrustbundles") {
		return nil
	}
	now := r.Object.(*certificates.ClusterTrustBundle)
	signer := now.Spec.SignerName
	if signer == "" || r.Op == admission.Update && onlyForCollectors(now, r.Old.(*certificates.ClusterTrustBundle)) {
		return nil
	}
	if !p.may(ctx, r.User, "attest", signer) {
		return r.Forbid("user not permitted to attest for signerName %q", signer)
	}
	return nil
}

// onlyForCollectors says whether nothing but what garbage collection works with has changed.
func onlyForCollectors(now, old *certificates.ClusterTrustBundle) bool {
	rest := func(b *certificates.ClusterTrustBundle) *certificates.ClusterTrustBundle {
		c := b.DeepCopy()
		c.OwnerReferences, c.Finalizers, c.ManagedFields, c.ResourceVersion = nil, nil, nil, ""
		return c
	}
	return equality.Semantic.DeepEqual(rest(now), rest(old))
}

// podSigning lets those say what becomes of a request who may sign for its signer. Its refusal looks like one of validation.
func (p plugin) podSigning(ctx context.Context, r *admission.Request) error {
	if r.Op != admission.Update || r.Sub != "status" || r.Kind.Group != certificates.GroupName || r.Kind.Kind != "PodCertificateRequest" {
		return nil
	}
	old, now := r.Old.(*certificates.PodCertificateRequest), r.Object.(*certificates.PodCertificateRequest)
	signer := old.Spec.SignerName
	if equality.Semantic.DeepEqual(old.Status, now.Status) || p.may(ctx, r.User, "sign", signer) {
		return nil
	}
	why := field.Forbidden(field.NewPath("spec", "signerName"), fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", r.User.Name, signer))
	return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), now.Name, field.ErrorList{why})
}
