package csr

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

type (
	request   = certificates.CertificateSigningRequest
	condition = certificates.CertificateSigningRequestCondition
)

// state is how far a request has come.
type state int

const (
	pending state = iota
	approved
	over // denied, failed or issued
)

func stateOf(r *request) state {
	s := pending
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificates.CertificateApproved:
			s = max(s, approved)
		case certificates.CertificateDenied, certificates.CertificateFailed:
			s = over
		}
	}
	if len(r.Status.Certificate) > 0 {
		s = over
	}
	return s
}

// How long requests are kept: those that somebody waits for, and those that are history.
const (
	keepWaiting = 24 * time.Hour
	keepDone    = time.Hour
)

// expiry is when a request may go; zero: never.
func expiry(r *request) time.Time {
	if len(r.Status.Conditions) == 0 {
		return r.CreationTimestamp.Add(keepWaiting)
	}
	var first time.Time
	sooner := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	for _, c := range r.Status.Conditions {
		isVerdict := c.Type == certificates.CertificateDenied || c.Type == certificates.CertificateFailed
		switch {
		case c.Type == certificates.CertificateApproved && len(r.Status.Certificate) > 0:
			if end, ok := lastDay(r.Status.Certificate); ok {
				sooner(end)
			}
			if !c.LastUpdateTime.IsZero() {
				sooner(c.LastUpdateTime.Add(keepDone))
			}
		case c.LastUpdateTime.IsZero():
		case c.Type == certificates.CertificateApproved:
			sooner(c.LastUpdateTime.Add(keepWaiting))
		case isVerdict:
			sooner(c.LastUpdateTime.Add(keepDone))
		}
	}
	return first
}

// lastDay is when the first certificate in PEM ends.
func lastDay(data []byte) (time.Time, bool) {
	block, _ := pem.Decode(data)
	if block == nil {
		return time.Time{}, false
	}
	certs, err := x509.ParseCertificates(block.Bytes)
	if err != nil || len(certs) == 0 {
		return time.Time{}, false
	}
	return certs[0].NotAfter, true
}

func approve(r *request, message string) []control.Change {
	n := object.Clone(r)
	n.Status.Conditions = append(n.Status.Conditions, condition{
		Type: certificates.CertificateApproved, Status: core.ConditionTrue, Reason: "AutoApproved", Message: message,
	})
	return []control.Change{{Op: control.Update, Sub: "approval", Object: n}}
}

func refuse(r *request, why error, now time.Time) []control.Change {
	n := object.Clone(r)
	n.Status.Conditions = append(n.Status.Conditions, condition{
		Type: certificates.CertificateFailed, Status: core.ConditionTrue, Reason: "SignerValidationFailure", Message: why.Error(),
		LastUpdateTime: metav1.NewTime(now),
	})
	return []control.Change{{Op: control.Status, Object: n}}
}

func issue(r *request, cert []byte) []control.Change {
	n := object.Clone(r)
	n.Status.Certificate = cert
	return []control.Change{{Op: control.Status, Object: n}}
}
