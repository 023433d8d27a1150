package csr

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission"
	admit "proa.dev/apiserver/admission/certificates"
	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
	"proa.dev/pki"
)

// ask is a request in PEM.
func ask(t *testing.T, cn string, org ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn, Organization: org}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func newRequest(name, signer string, pemRequest []byte, usages ...certificates.KeyUsage) *request {
	return &request{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificates.CertificateSigningRequestSpec{
		SignerName: signer, Request: pemRequest, Usages: usages}}
}

// await waits until the request is as good says.
func await(t *testing.T, c client.Client, name string, good func(*request) bool) *request {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		r, err := client.Get[certificates.CertificateSigningRequest](t.Context(), c, object.Key{Name: name})
		if err == nil && good(r) {
			return r
		}
		if time.Now().After(end) {
			t.Fatalf("%s is still %+v, %v", name, r, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// A node's request goes all the way without a person; one for another purpose waits for its approval, and fails if it is not what the
// signer signs.
func TestFromRequestToCertificate(t *testing.T) {
	cluster, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := apitest.Start(t, func(d *apiserver.Deps) { d.Plugins = []admission.Plugin{admit.New} })
	c, err := New(control.Deps{Client: s.Client, View: s.View()}, Config{Sign: cluster.SignTemplate})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	node := s.Local(authn.User{Name: "system:node:n1", Groups: []string{"system:nodes"}})
	tls := []certificates.KeyUsage{certificates.UsageDigitalSignature, certificates.UsageClientAuth}
	if _, err := client.Create(ctx, node, newRequest("node", certificates.KubeAPIServerClientKubeletSignerName, ask(t, "system:node:n1", "system:nodes"), tls...)); err != nil {
		t.Fatal(err)
	}
	r := await(t, s.Client, "node", func(r *request) bool { return len(r.Status.Certificate) > 0 })
	if r.Spec.Username != "system:node:n1" || len(r.Status.Conditions) != 1 || r.Status.Conditions[0].Reason != "AutoApproved" ||
		r.Status.Conditions[0].LastUpdateTime.IsZero() || r.Status.Conditions[0].LastTransitionTime.IsZero() {
		t.Errorf("got %+v", r)
	}
	block, _ := pem.Decode(r.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: cluster.CAPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if cert.Subject.CommonName != "system:node:n1" || !slices.Equal(cert.Subject.Organization, []string{"system:nodes"}) || cert.IsCA {
		t.Errorf("certificate says %v, %v", cert.Subject, cert.IsCA)
	}

	// A client's request is approved by a person.
	seconds := int32(3600)
	q := newRequest("bob", certificates.KubeAPIServerClientSignerName, ask(t, "bob", "dev"), tls...)
	q.Spec.ExpirationSeconds = &seconds
	made, err := client.Create(ctx, s.Client, q)
	if err != nil {
		t.Fatal(err)
	}
	approved := object.Clone(made)
	approved.Status.Conditions = []condition{{Type: certificates.CertificateApproved, Status: core.ConditionTrue, Reason: "me"}}
	target := client.Target{Resource: object.ResourceOf[certificates.CertificateSigningRequest](), Key: object.Key{Name: "bob"}, Sub: "approval"}
	if _, err := s.Client.Update(ctx, target, approved, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r = await(t, s.Client, "bob", func(r *request) bool { return len(r.Status.Certificate) > 0 })
	block, _ = pem.Decode(r.Status.Certificate)
	if cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	if life := time.Until(cert.NotAfter); life > time.Hour || life < 50*time.Minute {
		t.Errorf("the certificate lives %v, not an hour", life)
	}

	// What a signer does not sign fails.
	if _, err := client.Create(ctx, s.Client, newRequest("odd", certificates.KubeletServingSignerName, ask(t, "odd"), certificates.UsageServerAuth)); err != nil {
		t.Fatal(err)
	}
	target.Name = "odd"
	odd := object.Clone(await(t, s.Client, "odd", func(*request) bool { return true }))
	odd.Status.Conditions = approved.Status.Conditions
	if _, err := s.Client.Update(ctx, target, odd, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r = await(t, s.Client, "odd", func(r *request) bool { return len(r.Status.Conditions) == 2 })
	if f := r.Status.Conditions[1]; f.Type != certificates.CertificateFailed || f.Message != "subject organization is not system:nodes" {
		t.Errorf("got %+v", f)
	}

	// Nobody asks for the certificate of a master.
	_, err = client.Create(ctx, s.Client, newRequest("root", certificates.KubeAPIServerClientSignerName, ask(t, "root", authn.Masters), tls...))
	if want := `certificatesigningrequests.certificates.k8s.io "root" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed`; !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestOldRequestsGo(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	at := func(t certificates.RequestConditionType, ago time.Duration) condition {
		return condition{Type: t, Status: core.ConditionTrue, LastUpdateTime: metav1.NewTime(now.Add(-ago))}
	}
	for name, c := range map[string]struct {
		r    request
		want time.Duration // from now
	}{
		"nobody looked":  {request{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now)}}, 24 * time.Hour},
		"denied":         {request{Status: certificates.CertificateSigningRequestStatus{Conditions: []condition{at(certificates.CertificateDenied, time.Minute)}}}, 59 * time.Minute},
		"failed":         {request{Status: certificates.CertificateSigningRequestStatus{Conditions: []condition{at(certificates.CertificateApproved, 0), at(certificates.CertificateFailed, time.Hour)}}}, 0},
		"never signed":   {request{Status: certificates.CertificateSigningRequestStatus{Conditions: []condition{at(certificates.CertificateApproved, time.Hour)}}}, 23 * time.Hour},
		"issued, unread": {request{Status: certificates.CertificateSigningRequestStatus{Certificate: []byte("x"), Conditions: []condition{at(certificates.CertificateApproved, 0)}}}, time.Hour},
	} {
		if got := expiry(&c.r).Sub(now); got != c.want {
			t.Errorf("%s: goes in %v, want %v", name, got, c.want)
		}
	}
}

func TestLifeOfCertificates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		seconds int32
		want    time.Duration
	}{{0, 365*24*time.Hour - backdate}, {1, minLife}, {3600, time.Hour}, {9 * 3600, 9*time.Hour - backdate}, {1 << 30, 365*24*time.Hour - backdate}} {
		spec := certificates.CertificateSigningRequestSpec{Usages: []certificates.KeyUsage{"client auth", "server auth", "digital signature", "client auth"}}
		if c.seconds != 0 {
			spec.ExpirationSeconds = &c.seconds
		}
		got := template(&x509.CertificateRequest{}, spec, 365*24*time.Hour, now)
		if got.NotAfter.Sub(now) != c.want || got.NotBefore != now.Add(-backdate) {
			t.Errorf("%d s: from %v to %v", c.seconds, got.NotBefore.Sub(now), got.NotAfter.Sub(now))
		}
		if got.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(got.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
			t.Errorf("usages %v %v", got.KeyUsage, got.ExtKeyUsage)
		}
	}
}
