package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func good(t testing.TB) *request {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &request{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: certificates.CertificateSigningRequestSpec{
		SignerName: "example.com/s", Usages: []certificates.KeyUsage{"client auth"},
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}}
}

func said(t certificates.RequestConditionType) condition {
	return condition{Type: t, Status: core.ConditionTrue}
}

func TestNewRequests(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*request)
		want   string // the errors begin with these, one a line
	}{
		"good":         {func(*request) {}, ""},
		"no request":   {func(r *request) { r.Spec.Request = []byte("x") }, "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST"},
		"no usages":    {func(r *request) { r.Spec.Usages = nil }, "spec.usages: Required value"},
		"odd usage":    {func(r *request) { r.Spec.Usages = append(r.Spec.Usages, "x") }, `spec.usages[1]: Unsupported value: "x": supported values: "any", "cert sign", "client auth"`},
		"twice":        {func(r *request) { r.Spec.Usages = append(r.Spec.Usages, "client auth") }, `spec.usages[1]: Duplicate value: "client auth"`},
		"legacy":       {func(r *request) { r.Spec.SignerName = legacySigner }, `spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version`},
		"no signer":    {func(r *request) { r.Spec.SignerName = "" }, "spec.signerName: Required value"},
		"no path":      {func(r *request) { r.Spec.SignerName = "x" }, `spec.signerName: Invalid value: "x": must be a fully qualified domain and path of the form 'example.com/signer-name'`},
		"short domain": {func(r *request) { r.Spec.SignerName = "x/y" }, `spec.signerName: Invalid value: "x": should be a domain with at least two segments separated by dots`},
		"too short":    {func(r *request) { s := int32(599); r.Spec.ExpirationSeconds = &s }, `spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)`},
	} {
		r := good(t)
		c.change(r)
		got := ""
		if errs := validate(r, nil); len(errs) > 0 {
			got = errs.ToAggregate().Error()
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestWhoMayChangeWhat(t *testing.T) {
	approved := good(t)
	approved.Status.Conditions = []condition{said("Approved")}
	with := func(r *request, change func(*request)) *request {
		n := r.DeepCopy()
		change(n)
		return n
	}
	for name, c := range map[string]struct {
		old, now *request
		may      rights
		want     string
	}{
		"approve":           {good(t), approved, mayApprove, ""},
		"approve by status": {good(t), approved, maySign, `status.conditions: Forbidden: updates may not add a condition of type "Approved"`},
		"take it back":      {approved, good(t), mayApprove, `status.conditions: Forbidden: updates may not remove a condition of type "Approved"`},
		"both": {approved, with(approved, func(r *request) { r.Status.Conditions = append(r.Status.Conditions, said("Denied")) }), mayApprove,
			`status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive`},
		"false": {good(t), with(good(t), func(r *request) { r.Status.Conditions = []condition{{Type: "Denied", Status: "False"}} }), mayApprove,
			`status.conditions[0].status: Unsupported value: "False": supported values: "True"`},
		"no PEM":      {approved, with(approved, func(r *request) { r.Status.Certificate = []byte("x") }), maySign, `status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block`},
		"by approval": {approved, with(approved, func(r *request) { r.Status.Certificate = []byte("x") }), mayApprove, `[status.certificate: Invalid value: "<certificate data>": must contain`},
	} {
		got := ""
		if errs := validateChange(c.now, c.old, c.may); len(errs) > 0 {
			got = errs.ToAggregate().Error()
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestStateInWords(t *testing.T) {
	r := good(t)
	for _, c := range []struct {
		add  certificates.RequestConditionType
		want string
	}{{"", "Pending"}, {"Approved", "Approved"}, {"Failed", "Approved,Failed"}} {
		if c.add != "" {
			r.Status.Conditions = append(r.Status.Conditions, said(c.add))
		}
		if got := state(r); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// FuzzParse looks for requests that make the checks panic.
func FuzzParse(f *testing.F) {
	f.Add(good(f).Spec.Request)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &request{}
		r.Spec.Request, r.Status.Certificate = data, data
		validate(r, nil)
	})
}
