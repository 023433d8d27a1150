package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	certificates "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	uids "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// PodCertificateRequest is certificates.k8s.io/v1 PodCertificateRequest: a kubelet wants a certificate for a pod that it runs
// (KEP-4317). The spec never changes; who may sign for the signer says once in the status what becomes of the request.
var PodCertificateRequest = kinds.Def[certificates.PodCertificateRequest, *certificates.PodCertificateRequest]{
	Path:           "certificates.k8s.io/v1/podcertificaterequests",
	Former:         []string{"certificates.k8s.io/v1beta1"},
	Versioned:      true,
	Status:         true,
	Default:        defaultPodRequest,
	ValidateCreate: validatePodRequest,
	ValidateUpdate: func(r, old *podRequest) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			if !equality.Semantic.DeepEqual(r.Spec, old.Spec) {
				e.Invalid(specPath, shownSpec(&r.Spec), validation.FieldImmutableErrorMsg)
			}
		})
	},
	PrepareStatus:  func(r, old *podRequest) { metav1.ResetObjectMetaForStatus(r, old) },
	ValidateStatus: validatePodRequestStatus,
	Fields: func(r *podRequest) map[string]string {
		return map[string]string{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
	},
	Columns: podRequestColumns(),
	Row: func(r *podRequest, _ time.Time) []any {
		return []any{r.Name, r.Spec.PodName, r.Spec.ServiceAccountName, string(r.Spec.NodeName), r.Spec.SignerName, podRequestState(r),
			labels.FormatLabels(r.Spec.UnverifiedUserAnnotations)}
	},
}

type podRequest = certificates.PodCertificateRequest

// Bounds of sizes in bytes, of uids, and of a certificate's life in seconds.
const (
	maxStub         = 10 << 10
	maxChain        = 100 << 10
	maxUID          = 128
	minLife         = 3600
	maxLife         = 91 * 86400
	maxOwnLife      = 86400 // of signers of Kubernetes itself
	defaultPodsLife = 86400
)

var stubPath = specPath.Child("stubPKCS10Request")

func defaultPodRequest(r *podRequest) {
	if r.Spec.MaxExpirationSeconds == nil {
		life := int32(defaultPodsLife)
		r.Spec.MaxExpirationSeconds = &life
	}
}

func podRequestColumns() []kinds.Column {
	spec := certificates.PodCertificateRequestSpec{}.SwaggerDoc()
	cols := kinds.Columns("Name", "PodName", "ServiceAccountName", "NodeName", "SignerName", "State", "UnverifiedUserAnnotations")
	return kinds.Described(cols, spec["podName"], spec["serviceAccountName"], spec["nodeName"], spec["signerName"],
		"Is the request Pending, Issued, Denied, or Failed?", spec["unverifiedUserAnnotations"])
}

func podRequestState(r *podRequest) string {
	if s := verdict(r); s != "" {
		return s
	}
	return "Pending"
}

// shownSpec is the spec as errors show it: with two fields that older versions of the API have.
func shownSpec(s *certificates.PodCertificateRequestSpec) any {
	return struct {
		SignerName, PodName       string
		PodUID                    uids.UID
		ServiceAccountName        string
		ServiceAccountUID         uids.UID
		NodeName                  uids.NodeName
		NodeUID                   uids.UID
		MaxExpirationSeconds      *int32
		PKIXPublicKey             []byte
		ProofOfPossession         []byte
		StubPKCS10Request         []byte
		UnverifiedUserAnnotations map[string]string
	}{
		s.SignerName, s.PodName, s.PodUID, s.ServiceAccountName, s.ServiceAccountUID, s.NodeName, s.NodeUID, s.MaxExpirationSeconds, nil, nil,
		s.StubPKCS10Request, s.UnverifiedUserAnnotations,
	}
}

func validatePodRequest(r *podRequest) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s := &r.Spec
		e.SignerName(specPath.Child("signerName"), s.SignerName)
		e.UserAnnotations(specPath.Child("unverifiedUserAnnotations"), s.UnverifiedUserAnnotations)
		e.Invalids(specPath.Child("podName"), s.PodName, validation.NameIsDNSSubdomain(s.PodName, false))
		checkUID(e, specPath.Child("podUID"), s.PodUID)
		e.Invalids(specPath.Child("serviceAccountName"), s.ServiceAccountName, validation.NameIsDNSSubdomain(s.ServiceAccountName, false))
		checkUID(e, specPath.Child("serviceAccountUID"), s.ServiceAccountUID)
		e.Invalids(specPath.Child("nodeName"), s.NodeName, validation.NameIsDNSSubdomain(string(s.NodeName), false))
		checkUID(e, specPath.Child("nodeUID"), s.NodeUID)
		limit := int32(maxLife)
		if domain, _, _ := strings.Cut(s.SignerName, "/"); domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
			limit = maxOwnLife
		}
		life := specPath.Child("maxExpirationSeconds")
		if s.MaxExpirationSeconds == nil {
			e.Required(life, "must be set")
			return
		}
		if n := *s.MaxExpirationSeconds; n < minLife || n > limit {
			e.Invalid(life, n, fmt.Sprintf("must be in the range [%d, %d]", minLife, limit))
		}
		checkStub(e, s.StubPKCS10Request)
	})
}

func checkUID(e *check.Errors, p *field.Path, uid uids.UID) {
	if uid == "" {
		e.Invalid(p, uid, "must not be empty")
	}
	if len(uid) > maxUID {
		e.Add(field.TooLong(p, uid, maxUID))
	}
}

// checkStub wants a request of PKCS#10, which proves that who asks has the key. What else it says is the signer's business.
func checkStub(e *check.Errors, stub []byte) {
	if len(stub) == 0 { // in the words of a version of the API that knows another way
		e.Invalid(specPath, field.OmitValueType{}, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set")
		return
	}
	if len(stub) > maxStub {
		e.Add(field.TooLong(stubPath, stub, maxStub))
		return
	}
	q, err := x509.ParseCertificateRequest(stub)
	if err != nil {
		e.Invalid(stubPath, field.OmitValueType{}, "must be a valid PKCS#10 CSR")
		return
	}
	if value, what := weakKey(q.PublicKey); what != "" {
		e.Invalid(stubPath, value, what)
		return
	}
	if q.CheckSignature() != nil {
		e.Invalid(stubPath, field.OmitValueType{}, "invalid signature")
	}
}

// weakKey says what of a key is not allowed; "" is nothing.
func weakKey(public crypto.PublicKey) (value any, what string) {
	switch k := public.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return "curve " + k.Curve.Params().Name, "elliptic public keys must use curve P256, P384, or P521"
		}
	case *rsa.PublicKey:
		if bits := k.Size() * 8; bits != 3072 && bits != 4096 {
			return fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096"
		}
	default:
		return field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
	}
	return nil, ""
}
