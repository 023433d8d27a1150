package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	certificates "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func stubOf(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// certify makes a certificate that signs itself.
func certify(t testing.TB, key crypto.Signer, template x509.Certificate) string {
	t.Helper()
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// wantErrors wants the errors, one after the other, to begin with want.
func wantErrors(t *testing.T, name string, errs field.ErrorList, want string) {
	t.Helper()
	got := ""
	if len(errs) > 0 {
		got = errs.ToAggregate().Error()
	}
	if !strings.HasPrefix(got, want) || want == "" && got != "" {
		t.Errorf("%s: got %s, want %s", name, got, want)
	}
}

func TestTrustBundles(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	authority := func() string { return certify(t, key, x509.Certificate{IsCA: true}) }
	one, two, leaf := authority(), authority(), certify(t, key, x509.Certificate{})
	for _, c := range []struct{ name, signer, anchors, want string }{
		{"mine", "", one + two, ""},
		{"mine", "", one + "a comment\n" + two, ""},
		{"example.com:s:mine", "example.com/s", one, ""},
		{"a:mine", "", one, `metadata.name: Invalid value: "a:mine": ClusterTrustBundle without signer name must not have ":" in its name`},
		{"mine", "example.com/s", one, `metadata.name: Invalid value: "mine": ClusterTrustBundle for signerName example.com/s must be named with prefix example.com:s:`},
		{"mine", "", "", `spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided`},
		{"mine", "", one + leaf, `spec.trustBundle: Invalid value: "<value omitted>": entry 1 does not have the CA bit set`},
		{"mine", "", one + two + one, `spec.trustBundle: Invalid value: "<value omitted>": duplicate trust anchor (indices [0 2])`},
		{"mine", "", strings.Replace(one, "-----\n", "-----\nA: b\n\n", 1), `spec.trustBundle: Invalid value: "<value omitted>": entry 0 has PEM block headers`},
		{"mine", "", strings.ReplaceAll(one, "CERTIFICATE", "KEY"), `spec.trustBundle: Invalid value: "<value omitted>": entry 0 has bad block type: KEY`},
		{"mine", "", strings.Repeat("x", maxBundle+1), `spec.trustBundle: Too long: may not be more than 1048576 bytes`},
	} {
		b := &bundle{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Spec: certificates.ClusterTrustBundleSpec{SignerName: c.signer, TrustBundle: c.anchors}}
		wantErrors(t, c.name+" of "+c.signer, append(ClusterTrustBundle.Validate(b), ClusterTrustBundle.ValidateCreate(b)...), c.want)
	}
	old := &bundle{Spec: certificates.ClusterTrustBundleSpec{TrustBundle: "what was taken once"}}
	wantErrors(t, "unchanged", ClusterTrustBundle.ValidateUpdate(old.DeepCopy(), old), "")
	now := old.DeepCopy()
	now.Spec.SignerName = "example.com/s"
	wantErrors(t, "another signer", ClusterTrustBundle.ValidateUpdate(now, old), `spec.signerName: Invalid value: "example.com/s": field is immutable`)
}

func podAsks(t testing.TB, key crypto.Signer) *podRequest {
	t.Helper()
	r := &podRequest{Spec: certificates.PodCertificateRequestSpec{
		SignerName: "example.com/s", PodName: "p", PodUID: "1", ServiceAccountName: "default", ServiceAccountUID: "2", NodeName: "n", NodeUID: "3",
		StubPKCS10Request: stubOf(t, key),
	}}
	PodCertificateRequest.Default(r)
	return r
}

func TestPodRequests(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*podRequest)
		want   string
	}{
		"good":        {func(*podRequest) {}, ""},
		"P521":        {func(r *podRequest) { r.Spec.StubPKCS10Request = stubOf(t, ecKey(t, elliptic.P521())) }, ""},
		"P224":        {func(r *podRequest) { r.Spec.StubPKCS10Request = stubOf(t, ecKey(t, elliptic.P224())) }, `spec.stubPKCS10Request: Invalid value: "curve P-224": elliptic public keys must use curve P256, P384, or P521`},
		"RSA 2048":    {func(r *podRequest) { r.Spec.StubPKCS10Request = stubOf(t, weak) }, `spec.stubPKCS10Request: Invalid value: "2048-bit modulus": RSA keys must have modulus size 3072 or 4096`},
		"none":        {func(r *podRequest) { r.Spec.StubPKCS10Request = nil }, `spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set`},
		"garbage":     {func(r *podRequest) { r.Spec.StubPKCS10Request = []byte("x") }, `spec.stubPKCS10Request: Invalid value: must be a valid PKCS#10 CSR`},
		"forged":      {func(r *podRequest) { r.Spec.StubPKCS10Request[len(r.Spec.StubPKCS10Request)-1] ^= 1 }, `spec.stubPKCS10Request: Invalid value: `},
		"no uid":      {func(r *podRequest) { r.Spec.NodeUID = "" }, `spec.nodeUID: Invalid value: "": must not be empty`},
		"short life":  {func(r *podRequest) { *r.Spec.MaxExpirationSeconds = 3599 }, `spec.maxExpirationSeconds: Invalid value: 3599: must be in the range [3600, 7862400]`},
		"our signers": {func(r *podRequest) { r.Spec.SignerName = "kubernetes.io/x"; *r.Spec.MaxExpirationSeconds = 86401 }, `spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]`},
		"annotations": {func(r *podRequest) { r.Spec.UnverifiedUserAnnotations = map[string]string{"a": "b"} }, `spec.unverifiedUserAnnotations: Invalid value: "a": `},
	} {
		r := podAsks(t, ecKey(t, elliptic.P256()))
		c.change(r)
		wantErrors(t, name, validatePodRequest(r), c.want)
	}
}

func TestVerdicts(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	now := time.Now().Truncate(time.Second)
	asked := podAsks(t, key)
	says := func(kind string) *podRequest {
		r := asked.DeepCopy()
		r.Status.Conditions = []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.Now()}}
		return r
	}
	issued := func(signer crypto.Signer, from, to time.Time, names ...string) *podRequest {
		r := says("Issued")
		r.Status.CertificateChain = certify(t, signer, x509.Certificate{NotBefore: from, NotAfter: to, DNSNames: names})
		r.Status.NotBefore, r.Status.NotAfter, r.Status.BeginRefreshAt = &metav1.Time{Time: from}, &metav1.Time{Time: to}, &metav1.Time{Time: from.Add(time.Hour)}
		return r
	}
	with := func(r *podRequest, change func(*podRequest)) *podRequest {
		change(r)
		return r
	}
	good := func() *podRequest { return issued(key, now, now.Add(2*time.Hour)) }
	for name, c := range map[string]struct {
		old, now *podRequest
		want     string
	}{
		"issued":         {asked, good(), ""},
		"denied":         {asked, says("Denied"), ""},
		"twice":          {says("Denied"), says("Failed"), `status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed`},
		"no verdict":     {asked, with(asked.DeepCopy(), func(r *podRequest) { r.Status.CertificateChain = "x" }), `status: Invalid value: status is immutable unless`},
		"denied and yet": {asked, with(good(), func(r *podRequest) { r.Status.Conditions[0].Type = "Denied" }), `status: Invalid value: non-condition status fields must be empty`},
		"odd":            {asked, says("Odd"), `status.conditions.[0].type: Unsupported value: "Odd": supported values: "Issued", "Denied", "Failed"`},
		"false": {asked, with(says("Issued"), func(r *podRequest) { r.Status.Conditions[0].Status = "False" }),
			`status.conditions.[0].status: Unsupported value: "False": supported values: "True"`},
		"nothing":     {asked, says("Issued"), `status.certificateChain: Invalid value: "": issued certificate chain must contain at least one certificate`},
		"another key": {asked, issued(ecKey(t, elliptic.P256()), now, now.Add(2*time.Hour)), `status.certificateChain: Invalid value: "-----BEGIN CERTIFICATE`},
		"old":         {asked, issued(key, now.Add(-10*time.Minute), now.Add(2*time.Hour)), `status.notBefore: Invalid value: "`},
		"short":       {asked, issued(key, now, now.Add(time.Minute)), `status.certificateChain: Invalid value: 60000000000: leaf certificate lifetime must be >= 1 hour`},
		"long":        {asked, issued(key, now, now.Add(25*time.Hour)), `status.certificateChain: Invalid value: 90000000000000: leaf certificate lifetime must be <= spec.maxExpirationSeconds (86400)`},
		"names":       {asked, issued(key, now, now.Add(2*time.Hour), ".a"), `status.certificateChain: Invalid value: ".a": leaf certificate's DNSName should not start or end with '.'`},
		"no times":    {asked, with(good(), func(r *podRequest) { r.Status.NotAfter = nil }), `status.notAfter: Required value: must be present and consistent`},
		"early": {asked, with(good(), func(r *podRequest) { r.Status.BeginRefreshAt.Time = now.Add(9 * time.Minute) }),
			`status.beginRefreshAt: Invalid value: "` + now.Add(9*time.Minute).UTC().Format(time.RFC3339)},
	} {
		wantErrors(t, name, validatePodRequestStatus(c.now, c.old), c.want)
	}
	if s := podRequestState(asked) + " " + podRequestState(good()); s != "Pending Issued" {
		t.Errorf("states: %s", s)
	}
}

// FuzzPodRequest looks for requests and chains that make the checks panic.
func FuzzPodRequest(f *testing.F) {
	key := ecKey(f, elliptic.P256())
	f.Add(stubOf(f, key), certify(f, key, x509.Certificate{IsCA: true}))
	asked := podAsks(f, key)
	f.Fuzz(func(_ *testing.T, stub []byte, chain string) {
		r := asked.DeepCopy()
		r.Spec.StubPKCS10Request = stub
		validatePodRequest(r)
		now := r.DeepCopy()
		now.Status.CertificateChain = chain
		now.Status.Conditions = []metav1.Condition{{Type: "Issued", Status: "True", Reason: "R", LastTransitionTime: metav1.Now()}}
		validatePodRequestStatus(now, r)
		ClusterTrustBundle.ValidateCreate(&bundle{Spec: certificates.ClusterTrustBundleSpec{TrustBundle: chain}})
	})
}
