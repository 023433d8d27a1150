package csr

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificates "k8s.io/api/certificates/v1"

	kinds "proa.dev/kinds/certificates"
)

// way is one in which a request is approved without a person: what it looks like, and the subresource that a role has to allow.
type way struct {
	sub, message string
	fits         func(r *request) bool
}

// ways are tried in order. A node that renews its own certificate has the first right, one that joins the second.
var ways = [...]way{
	{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.", func(r *request) bool {
		q, ok := nodeClient(r)
		return ok && q.Subject.CommonName == r.Spec.Username
	}},
	{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.", func(r *request) bool {
		_, ok := nodeClient(r)
		return ok
	}},
}

func nodeClient(r *request) (*x509.CertificateRequest, bool) {
	if r.Spec.SignerName != certificates.KubeAPIServerClientKubeletSignerName {
		return nil, false
	}
	q, err := kinds.Parse(r.Spec.Request)
	if err != nil || kubeletClient(q, r.Spec.Usages) != nil {
		return nil, false
	}
	return q, true
}

// signers says for each signer of ours why it does not sign a request; nil: it does.
var signers = map[string]func(q *x509.CertificateRequest, usages []certificates.KeyUsage) error{
	certificates.KubeAPIServerClientSignerName:        apiClient,
	certificates.KubeAPIServerClientKubeletSignerName: kubeletClient,
	certificates.KubeletServingSignerName:             kubeletServing,
	"kubernetes.io/legacy-unknown":                    func(*x509.CertificateRequest, []certificates.KeyUsage) error { return nil },
}

func apiClient(_ *x509.CertificateRequest, usages []certificates.KeyUsage) error {
	for _, u := range usages {
		if u != certificates.UsageDigitalSignature && u != certificates.UsageKeyEncipherment && u != certificates.UsageClientAuth {
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificates.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificates.UsageClientAuth)
	}
	return nil
}

func kubeletClient(q *x509.CertificateRequest, usages []certificates.KeyUsage) error {
	switch {
	case !slices.Equal(q.Subject.Organization, []string{"system:nodes"}):
		return errOrganization
	case len(q.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(q.EmailAddresses) > 0:
		return errEmail
	case len(q.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(q.URIs) > 0:
		return errURI
	case !strings.HasPrefix(q.Subject.CommonName, "system:node:"):
		return errCommonName
	}
	return exactly(usages, certificates.UsageClientAuth)
}

func kubeletServing(q *x509.CertificateRequest, usages []certificates.KeyUsage) error {
	switch {
	case !slices.Equal(q.Subject.Organization, []string{"system:nodes"}):
		return errOrganization
	case len(q.DNSNames) == 0 && len(q.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(q.EmailAddresses) > 0:
		return errEmail
	case len(q.URIs) > 0:
		return errURI
	}
	if err := exactly(usages, certificates.UsageServerAuth); err != nil {
		return err
	}
	if !strings.HasPrefix(q.Subject.CommonName, "system:node:") {
		return errCommonName
	}
	return nil
}

var (
	errOrganization = errors.New("subject organization is not system:nodes")
	//lint:ignore ST1005 Kubernetes' own words
	errCommonName = errors.New("subject common name does not begin with system:node:")
	//lint:ignore ST1005 Kubernetes' own words
	errEmail = errors.New("Email subjectAltNames are not allowed")
	errURI   = errors.New("URI subjectAltNames are not allowed")
)

// exactly wants the usages of a TLS key for one purpose; key encipherment is for RSA keys and may be missing.
func exactly(usages []certificates.KeyUsage, purpose certificates.KeyUsage) error {
	set := map[certificates.KeyUsage]bool{}
	for _, u := range usages {
		set[u] = true
	}
	delete(set, certificates.UsageKeyEncipherment)
	if len(set) == 2 && set[certificates.UsageDigitalSignature] && set[purpose] {
		return nil
	}
	all := []string{string(purpose), string(certificates.UsageDigitalSignature), string(certificates.UsageKeyEncipherment)}
	slices.Sort(all)
	return fmt.Errorf("usages did not match %v", all)
}

// Times of certificates. They begin a little in the past, for clocks that run behind; only one that is not short pays for that with
// the end of its life.
const (
	backdate = 5 * time.Minute
	short    = 8 * time.Hour
	minLife  = 10 * time.Minute
)

// template is the certificate that a request asks for, as far as it may.
func template(q *x509.CertificateRequest, spec certificates.CertificateSigningRequestSpec, most time.Duration, now time.Time) *x509.Certificate {
	life := most
	if s := spec.ExpirationSeconds; s != nil {
		life = min(most, max(minLife, time.Duration(*s)*time.Second))
	}
	t := &x509.Certificate{
		Subject: q.Subject, DNSNames: q.DNSNames, IPAddresses: q.IPAddresses, EmailAddresses: q.EmailAddresses, URIs: q.URIs,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life - backdate), BasicConstraintsValid: true,
	}
	if life < short {
		t.NotAfter = now.Add(life)
	}
	for _, u := range spec.Usages {
		if k, ok := keyUsages[u]; ok {
			t.KeyUsage |= k
		} else if e, ok := extUsages[u]; ok && !slices.Contains(t.ExtKeyUsage, e) {
			t.ExtKeyUsage = append(t.ExtKeyUsage, e)
		}
	}
	slices.Sort(t.ExtKeyUsage)
	return t
}

var keyUsages = map[certificates.KeyUsage]x509.KeyUsage{
	certificates.UsageSigning: x509.KeyUsageDigitalSignature, certificates.UsageDigitalSignature: x509.KeyUsageDigitalSignature,
	certificates.UsageContentCommitment: x509.KeyUsageContentCommitment, certificates.UsageKeyEncipherment: x509.KeyUsageKeyEncipherment,
	certificates.UsageKeyAgreement: x509.KeyUsageKeyAgreement, certificates.UsageDataEncipherment: x509.KeyUsageDataEncipherment,
	certificates.UsageCertSign: x509.KeyUsageCertSign, certificates.UsageCRLSign: x509.KeyUsageCRLSign,
	certificates.UsageEncipherOnly: x509.KeyUsageEncipherOnly, certificates.UsageDecipherOnly: x509.KeyUsageDecipherOnly,
}

var extUsages = map[certificates.KeyUsage]x509.ExtKeyUsage{
	certificates.UsageAny: x509.ExtKeyUsageAny, certificates.UsageServerAuth: x509.ExtKeyUsageServerAuth,
	certificates.UsageClientAuth: x509.ExtKeyUsageClientAuth, certificates.UsageCodeSigning: x509.ExtKeyUsageCodeSigning,
	certificates.UsageEmailProtection: x509.ExtKeyUsageEmailProtection, certificates.UsageSMIME: x509.ExtKeyUsageEmailProtection,
	certificates.UsageIPsecEndSystem: x509.ExtKeyUsageIPSECEndSystem, certificates.UsageIPsecTunnel: x509.ExtKeyUsageIPSECTunnel,
	certificates.UsageIPsecUser: x509.ExtKeyUsageIPSECUser, certificates.UsageTimestamping: x509.ExtKeyUsageTimeStamping,
	certificates.UsageOCSPSigning:  x509.ExtKeyUsageOCSPSigning,
	certificates.UsageMicrosoftSGC: x509.ExtKeyUsageMicrosoftServerGatedCrypto, certificates.UsageNetscapeSGC: x509.ExtKeyUsageNetscapeServerGatedCrypto,
}
