package certificates

import (
	"context"
	"slices"
	"strings"

	certificates "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	kinds "proa.dev/kinds/certificates"
)

// New makes the steps.
func New(d admission.Deps) (admission.Part, error) {
	p := plugin{d.Authz}
	return admission.Part{Steps: []admission.Step{
		{Name: "CertificateApproval", Check: p.approval},
		{Name: "CertificateSigning", Check: p.signing},
		{Name: "CertificateSubjectRestriction", Check: subject},
		{Name: "ClusterTrustBundleAttest", Check: p.attest},
		{Name: "PodCertificateSigning", Check: p.podSigning},
	}}, nil
}

type plugin struct{ authz authz.Authorizer }

// about says whether r is an operation on a subresource of certificate signing requests.
func about(r *admission.Request, op admission.Operation, sub string) bool {
	return r.Op == op && r.Sub == sub && r.Kind.Group == certificates.GroupName && r.Kind.Resource.Resource == "certificatesigningrequests"
}

// approval lets those approve or deny who may do so for the signer that was asked.
func (p plugin) approval(ctx context.Context, r *admission.Request) error {
	if !about(r, admission.Update, "approval") {
		return nil
	}
	signer := r.Old.(*certificates.CertificateSigningRequest).Spec.SignerName
	if !p.may(ctx, r.User, "approve", signer) {
		return r.Forbid("user not permitted to approve requests with signerName %q", signer)
	}
	return nil
}

// signing lets those set the certificate and conditions who may sign as the signer that was asked.
func (p plugin) signing(ctx context.Context, r *admission.Request) error {
	if !about(r, admission.Update, "status") {
		return nil
	}
	old, now := r.Old.(*certificates.CertificateSigningRequest), r.Object.(*certificates.CertificateSigningRequest)
	if slices.Equal(old.Status.Certificate, now.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, now.Status.Conditions) {
		return nil
	}
	if !p.may(ctx, r.User, "sign", old.Spec.SignerName) {
		return r.Forbid("user not permitted to sign requests with signerName %q", old.Spec.SignerName)
	}
	return nil
}

// may says whether user has a verb on a signer, or on all of its domain.
func (p plugin) may(ctx context.Context, user authn.User, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		d, err := p.authz.Authorize(ctx, authz.Attributes{User: user, Verb: verb, Group: certificates.GroupName, Version: "*",
			Resource: "signers", Name: name, ResourceRequest: true})
		if err == nil && d.Allowed {
			return true
		}
	}
	return false
}

// subject refuses client certificates for the group that may do everything.
func subject(_ context.Context, r *admission.Request) error {
	if !about(r, admission.Create, "") {
		return nil
	}
	q := r.Object.(*certificates.CertificateSigningRequest)
	if q.Spec.SignerName != certificates.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := kinds.Parse(q.Spec.Request)
	if err != nil {
		return r.Forbid("failed to parse CSR: %v", err)
	}
	if slices.Contains(parsed.Subject.Organization, authn.Masters) {
		return r.Forbid("use of %s signer with system:masters group is not allowed", q.Spec.SignerName)
	}
	return nil
}
