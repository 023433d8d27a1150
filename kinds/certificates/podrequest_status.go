package certificates

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	certificates "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

var (
	statusPath    = field.NewPath("status")
	chainPath     = statusPath.Child("certificateChain")
	notBeforePath = statusPath.Child("notBefore")
	notAfterPath  = statusPath.Child("notAfter")
	refreshPath   = statusPath.Child("beginRefreshAt")

	outcomes = []string{
		certificates.PodCertificateRequestConditionTypeIssued, certificates.PodCertificateRequestConditionTypeDenied,
		certificates.PodCertificateRequestConditionTypeFailed,
	}
)

// Tolerances of what a signer says about time.
const (
	maxSkew   = 5 * time.Minute  // between the certificate's begin and our clock
	refreshIn = 10 * time.Minute // the least between the certificate's begin or end and its refresh
)

// verdict is what has become of the request; "" while it waits.
func verdict(r *podRequest) string {
	for _, c := range r.Status.Conditions {
		if slices.Contains(outcomes, c.Type) && c.Status == metav1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// validatePodRequestStatus lets the status change once, from nothing to a verdict.
func validatePodRequestStatus(r, old *podRequest) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		checkOutcomes(e, r.Status.Conditions)
		if len(e.List) > 0 {
			return
		}
		switch was, now := verdict(old), verdict(r); {
		case was != "":
			sameStatus(e, r.Status, old.Status, "immutable after PodCertificateRequest is issued, denied, or failed")
		case now == "":
			sameStatus(e, r.Status, old.Status, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
		case now != certificates.PodCertificateRequestConditionTypeIssued:
			sameStatus(e, r.Status, certificates.PodCertificateRequestStatus{Conditions: r.Status.Conditions},
				"non-condition status fields must be empty when denying or failing the PodCertificateRequest")
		default:
			checkIssued(e, r, old, time.Now())
		}
	})
}

func sameStatus(e *check.Errors, now, want certificates.PodCertificateRequestStatus, detail string) {
	if !equality.Semantic.DeepEqual(now, want) {
		e.Invalid(statusPath, field.OmitValueType{}, detail)
	}
}

func checkOutcomes(e *check.Errors, list []metav1.Condition) {
	n := 0
	for i, c := range list {
		at := statusPath.Child("conditions", "["+strconv.Itoa(i)+"]") // a dot before the bracket, as the API has it
		if !slices.Contains(outcomes, c.Type) {
			e.Add(field.NotSupported(at.Child("type"), c.Type, outcomes))
			continue
		}
		if n++; n > 1 {
			e.Invalid(at.Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`)
		}
		check.OneOf(e, at.Child("status"), c.Status, metav1.ConditionTrue)
	}
	e.Add(metavalidation.ValidateConditions(list, statusPath.Child("conditions"))...)
}

// checkIssued checks a certificate that comes in, up to the first fault.
func checkIssued(e *check.Errors, r, old *podRequest, now time.Time) {
	chain := r.Status.CertificateChain
	if len(chain) > maxChain {
		e.Add(field.TooLong(chainPath, chain, maxChain))
		return
	}
	block, rest := pem.Decode([]byte(chain))
	switch {
	case block == nil:
		e.Invalid(chainPath, chain, "issued certificate chain must contain at least one certificate")
		return
	case block.Type != "CERTIFICATE":
		e.Invalid(chainPath, chain, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
		return
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		e.Invalid(chainPath, chain, "leaf certificate does not parse as valid X.509")
		return
	}
	checkNames(e, leaf)
	before := len(e.List)
	checkPublic(e, &old.Spec, leaf, chain)
	if len(e.List) > before {
		return
	}
	checkTimes(e, r, leaf, now)
	if len(e.List) > 0 {
		return
	}
	checkRest(e, chain, rest)
}

// checkRest reads what follows the leaf. Whether it leads to an authority is the business of who trusts it.
func checkRest(e *check.Errors, chain string, rest []byte) {
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return
		}
		if block.Type != "CERTIFICATE" {
			e.Invalid(chainPath, chain, "issued certificate chain must consist entirely of CERTFICATE PEM blocks") // spelt so
			return
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			e.Invalid(chainPath, chain, "intermediate certificate does not parse as valid X.509")
			return
		}
	}
}

func checkNames(e *check.Errors, leaf *x509.Certificate) {
	for _, n := range leaf.DNSNames {
		if n == "" {
			e.Invalid(chainPath, n, "leaf certificate should not contain empty DNSName")
		}
		if strings.Contains(n, "..") {
			e.Invalid(chainPath, n, "leaf certificate's DNSName should not contain '..'")
		}
		if strings.HasPrefix(n, ".") || strings.HasSuffix(n, ".") {
			e.Invalid(chainPath, n, "leaf certificate's DNSName should not start or end with '.'")
		}
	}
	for _, m := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(m); err != nil {
			e.Invalid(chainPath, m, "leaf certificate should not contain invalid EmailAddress")
		}
	}
}

// checkPublic wants the certificate to be for the key that was asked for.
func checkPublic(e *check.Errors, s *certificates.PodCertificateRequestSpec, leaf *x509.Certificate, chain string) {
	q, err := x509.ParseCertificateRequest(s.StubPKCS10Request)
	if err != nil {
		e.Invalid(stubPath, field.OmitValueType{}, "must be a valid PKCS#10 CSR")
		return
	}
	if k, ok := q.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && !k.Equal(leaf.PublicKey) {
		e.Invalid(chainPath, chain, "leaf certificate was not issued to the requested public key")
	}
}

// checkTimes wants the status to tell what the certificate says, and the certificate to be young and of the right length.
func checkTimes(e *check.Errors, r *podRequest, leaf *x509.Certificate, now time.Time) {
	s := &r.Status
	if s.NotBefore == nil {
		e.Required(notBeforePath, "must be present and consistent with the issued certificate")
	}
	if s.NotAfter == nil {
		e.Required(notAfterPath, "must be present and consistent with the issued certificate")
	}
	if s.BeginRefreshAt == nil {
		e.Required(refreshPath, "must be present and in the range [notbefore+10min, notafter-10min]")
	}
	if len(e.List) > 0 {
		return
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case !s.NotBefore.Time.Equal(leaf.NotBefore):
		e.Invalid(notBeforePath, s.NotBefore.Time, "must be set to the NotBefore time encoded in the leaf certificate")
	case now.Sub(s.NotBefore.Time).Abs() >= maxSkew:
		e.Invalid(notBeforePath, s.NotBefore.Time, "must be set to within 5 minutes of kube-apiserver's current time")
	case !s.NotAfter.Time.Equal(leaf.NotAfter):
		e.Invalid(notAfterPath, s.NotAfter.Time, "must be set to the NotAfter time encoded in the leaf certificate")
	case life < minLife*time.Second:
		e.Invalid(chainPath, life, "leaf certificate lifetime must be >= 1 hour")
	case life > time.Duration(*r.Spec.MaxExpirationSeconds)*time.Second:
		e.Invalid(chainPath, life, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%v)", *r.Spec.MaxExpirationSeconds))
	case s.BeginRefreshAt.Time.Before(s.NotBefore.Add(refreshIn)):
		e.Invalid(refreshPath, s.BeginRefreshAt.Time, "must be at least 10 minutes after status.notBefore")
	case s.BeginRefreshAt.Time.After(s.NotAfter.Add(-refreshIn)):
		e.Invalid(refreshPath, s.BeginRefreshAt.Time, "must be at least 10 minutes before status.notAfter")
	}
}
