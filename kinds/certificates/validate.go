package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// legacySigner signs what was asked for before there were signers. This version of the API takes no new requests to it.
const legacySigner = "kubernetes.io/legacy-unknown"

// rights is what a kind of write may do beyond changing metadata.
type rights int

const (
	mayApprove rights = 1 << iota // say Approved or Denied
	maySign                       // set the certificate
)

var (
	specPath       = field.NewPath("spec")
	conditionsPath = field.NewPath("status", "conditions")
	certPath       = field.NewPath("status", "certificate")

	verdicts = []certificates.RequestConditionType{certificates.CertificateApproved, certificates.CertificateDenied}
	lasting  = []certificates.RequestConditionType{certificates.CertificateApproved, certificates.CertificateDenied, certificates.CertificateFailed}
)

// usages are all that there are, in the order in which the error lists them.
var usages = []certificates.KeyUsage{
	certificates.UsageAny, certificates.UsageCertSign, certificates.UsageClientAuth, certificates.UsageCodeSigning,
	certificates.UsageContentCommitment, certificates.UsageCRLSign, certificates.UsageDataEncipherment, certificates.UsageDecipherOnly,
	certificates.UsageDigitalSignature, certificates.UsageEmailProtection, certificates.UsageEncipherOnly, certificates.UsageIPsecEndSystem,
	certificates.UsageIPsecTunnel, certificates.UsageIPsecUser, certificates.UsageKeyAgreement, certificates.UsageKeyEncipherment,
	certificates.UsageMicrosoftSGC, certificates.UsageNetscapeSGC, certificates.UsageOCSPSigning, certificates.UsageSMIME,
	certificates.UsageServerAuth, certificates.UsageSigning, certificates.UsageTimestamping,
}

// Parse reads the PKCS#10 request in PEM (RFC 2986) that spec.request is.
func Parse(request []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

func checkSignature(request []byte) error {
	r, err := Parse(request)
	if err != nil {
		return err
	}
	return r.CheckSignature()
}

// validate checks r by itself; what was wrong in old (nil on create) may stay wrong.
func validate(r, old *request) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if err := checkSignature(r.Spec.Request); err != nil {
			e.Invalid(specPath.Child("request"), r.Spec.Request, err.Error())
		}
		checkUsages(e, r.Spec.Usages, old)
		signer := specPath.Child("signerName")
		if r.Spec.SignerName == legacySigner && (old == nil || old.Spec.SignerName != legacySigner) {
			e.Invalid(signer, r.Spec.SignerName, "the legacy signerName is not allowed via this API version")
		} else {
			e.SignerName(signer, r.Spec.SignerName)
		}
		if s := r.Spec.ExpirationSeconds; s != nil && *s < 600 {
			e.Invalid(specPath.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)")
		}
		checkConditions(e, r, old)
		if old != nil && (bytes.Equal(r.Status.Certificate, old.Status.Certificate) || checkPEM(old.Status.Certificate) != nil) {
			return
		}
		if err := checkPEM(r.Status.Certificate); err != nil {
			e.Invalid(certPath, "<certificate data>", err.Error())
		}
	})
}

func checkUsages(e *check.Errors, list []certificates.KeyUsage, old *request) {
	p := specPath.Child("usages")
	if len(list) == 0 {
		e.Required(p, "")
	}
	unknown := func(u certificates.KeyUsage) bool { return !slices.Contains(usages, u) }
	if old == nil || !slices.ContainsFunc(old.Spec.Usages, unknown) {
		for i, u := range list {
			if unknown(u) {
				e.Add(field.NotSupported(p.Index(i), u, usages))
			}
		}
	}
	if old != nil && repeated(old.Spec.Usages) {
		return
	}
	for i, u := range list {
		if slices.Contains(list[:i], u) {
			e.Duplicate(p.Index(i), u)
		}
	}
}

func repeated[T comparable](list []T) bool {
	for i := range list {
		if slices.Contains(list[:i], list[i]) {
			return true
		}
	}
	return false
}

func types(r *request) []certificates.RequestConditionType {
	out := make([]certificates.RequestConditionType, len(r.Status.Conditions))
	for i := range out {
		out[i] = r.Status.Conditions[i].Type
	}
	return out
}

func checkConditions(e *check.Errors, r, old *request) {
	var were []certificates.RequestConditionType
	if old != nil {
		were = types(old)
	}
	mayBeBoth := slices.Contains(were, certificates.CertificateApproved) && slices.Contains(were, certificates.CertificateDenied)
	mayBeEmpty, mayRepeat := slices.Contains(were, ""), repeated(were)
	all := types(r)
	for i, c := range r.Status.Conditions {
		p := conditionsPath.Index(i)
		if c.Type == "" && !mayBeEmpty {
			e.Required(p.Child("type"), "")
		}
		if slices.Contains(lasting, c.Type) {
			check.OneOfRequired(e, p.Child("status"), c.Status, core.ConditionTrue)
		} else {
			check.OneOfRequired(e, p.Child("status"), c.Status, core.ConditionFalse, core.ConditionTrue, core.ConditionUnknown)
		}
		before := all[:i]
		other := map[certificates.RequestConditionType]certificates.RequestConditionType{
			certificates.CertificateApproved: certificates.CertificateDenied, certificates.CertificateDenied: certificates.CertificateApproved}[c.Type]
		if other != "" && !mayBeBoth && slices.Contains(before, other) {
			e.Invalid(conditionsPath, c.Type, "Approved and Denied conditions are mutually exclusive")
		}
		if !mayRepeat && slices.Contains(before, c.Type) {
			e.Duplicate(p.Child("type"), c.Type)
		}
	}
}

// checkPEM wants nothing, or certificates in PEM without headers.
func checkPEM(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	found := false
	for {
		block, rest := pem.Decode(data)
		switch {
		case block == nil && !found:
			return errors.New("must contain at least one CERTIFICATE PEM block")
		case block == nil:
			return nil
		case block.Type != "CERTIFICATE":
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		case len(block.Headers) != 0:
			return errors.New("no PEM block headers are permitted")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		found, data = true, rest
	}
}

// validateChange checks a write to a request that there is.
func validateChange(r, old *request, may rights) field.ErrorList {
	errs := validate(r, old)
	return append(errs, check.Run(func(e *check.Errors) {
		for _, t := range lasting {
			if len(indexes(r, t)) < len(indexes(old, t)) {
				e.Forbidden(conditionsPath, fmt.Sprintf("updates may not remove a condition of type %q", t))
			}
		}
		if may&mayApprove == 0 {
			keptVerdicts(e, r, old)
		}
		switch {
		case bytes.Equal(r.Status.Certificate, old.Status.Certificate):
		case may&maySign == 0:
			e.Forbidden(certPath, "updates may not set certificate content")
		case len(old.Status.Certificate) > 0:
			e.Forbidden(certPath, "updates may not modify existing certificate content")
		}
	})...)
}

// keptVerdicts wants what approvers have said to be what it was.
func keptVerdicts(e *check.Errors, r, old *request) {
	for _, t := range verdicts {
		was, now := ofType(old, t), ofType(r, t)
		switch {
		case len(now) > len(was):
			e.Forbidden(conditionsPath, fmt.Sprintf("updates may not add a condition of type %q", t))
		case len(now) == len(was) && !equality.Semantic.DeepEqual(was, now):
			e.Forbidden(conditionsPath, fmt.Sprintf("updates may not modify a condition of type %q\n%v", t, check.Diff(was, now)))
		}
	}
}

func ofType(r *request, t certificates.RequestConditionType) (list []condition) {
	for _, i := range indexes(r, t) {
		list = append(list, r.Status.Conditions[i])
	}
	return list
}
