package podcert

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/kit/prom"
	"proa.dev/object"
)

// api is a server with a node, a service account, a pod, and a signer that the test is.
type api struct {
	*testing.T
	*apitest.Server
	pod    *core.Pod
	events []string
	keeper *Keeper
	dir    Bundle // what the pod's volume shows
}

func (a *api) PodRequest(namespace, name string) (*certificates.PodCertificateRequest, error) {
	return client.Get[certificates.PodCertificateRequest](a.Context(), a.Client, object.Key{Namespace: namespace, Name: name})
}

func (a *api) Account(namespace, name string) (*core.ServiceAccount, error) {
	return client.Get[core.ServiceAccount](a.Context(), a.Client, object.Key{Namespace: namespace, Name: name})
}

func (a *api) ThisNode(name string) (*core.Node, error) {
	return client.Get[core.Node](a.Context(), a.Client, object.Key{Name: name})
}

func (a *api) Event(_ object.Object, kind, reason, format string, args ...any) {
	a.events = append(a.events, kind+" "+reason+": "+fmt.Sprintf(format, args...))
}

func newAPI(t *testing.T) *api {
	a := &api{T: t, Server: apitest.Start(t)}
	make1(a, &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	make1(a, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sa"}})
	a.pod = make1(a, &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: core.PodSpec{
		NodeName: "n", ServiceAccountName: "sa", Containers: []core.Container{{Name: "c", Image: "i"}},
	}})
	a.restart()
	return a
}

func make1[T any, P object.Ptr[T]](a *api, o P) P {
	a.Helper()
	made, err := client.Create(a.Context(), a.Client, o)
	if err != nil {
		a.Fatal(err)
	}
	return made
}

func (a *api) restart() { a.keeper = New(Deps{Client: a.Client, Sources: a, Node: "n", Events: a}) }

// get is one look of the volume.
func (a *api) get(now time.Time) (string, time.Time) {
	b, next, err := a.keeper.Get(context.Background(), Want{
		Pod: a.pod, Volume: "v", Source: &core.PodCertificateProjection{SignerName: "example.com/s", KeyType: "ECDSAP256", UserAnnotations: map[string]string{"example.com/a": "b"}},
		Shown: func() (Bundle, bool) { return a.dir, a.dir.Key != nil },
	}, now)
	if err != nil {
		return err.Error(), next
	}
	pair, err := tls.X509KeyPair(b.Chain, b.Key)
	if err != nil {
		a.Fatal(err)
	}
	a.dir = b
	return pair.Leaf.Subject.CommonName, next
}

// asked is the request that has no answer yet.
func (a *api) asked() *certificates.PodCertificateRequest {
	a.Helper()
	l, err := a.Client.List(a.Context(), client.TargetOf[certificates.PodCertificateRequest](object.Key{Namespace: "default"}), metav1.ListOptions{})
	if err != nil {
		a.Fatal(err)
	}
	var open []*certificates.PodCertificateRequest
	for _, o := range l.Items {
		if r := o.(*certificates.PodCertificateRequest); len(r.Status.Conditions) == 0 {
			open = append(open, r)
		}
	}
	if len(open) != 1 {
		a.Fatalf("%d requests wait for an answer, want one", len(open))
	}
	return open[0]
}

// answer is the signer's.
func (a *api) answer(r *certificates.PodCertificateRequest, cond metav1.Condition, fill func(*certificates.PodCertificateRequestStatus)) {
	a.Helper()
	r = r.DeepCopy()
	cond.Status, cond.LastTransitionTime = metav1.ConditionTrue, metav1.Now()
	r.Status.Conditions = []metav1.Condition{cond}
	if fill != nil {
		fill(&r.Status)
	}
	if _, err := client.UpdateStatus(a.Context(), a.Client, r); err != nil {
		a.Fatal(err)
	}
}

// sign issues a certificate for two hours to be renewed after one.
func (a *api) sign(r *certificates.PodCertificateRequest, name string, from time.Time) {
	a.Helper()
	asked, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		a.Fatal(err)
	}
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: from.Add(2 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}}, asked.PublicKey, ca)
	if err != nil {
		a.Fatal(err)
	}
	a.answer(r, metav1.Condition{Type: certificates.PodCertificateRequestConditionTypeIssued, Reason: "Yes"}, func(s *certificates.PodCertificateRequestStatus) {
		s.CertificateChain = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		s.NotBefore, s.NotAfter, s.BeginRefreshAt = &metav1.Time{Time: leaf.NotBefore}, &metav1.Time{Time: leaf.NotAfter}, &metav1.Time{Time: from.Add(time.Hour)}
	})
}

func (a *api) expect(now time.Time, want string) time.Time {
	a.Helper()
	got, next := a.get(now)
	if got != want {
		a.Fatalf("%s, want %s", got, want)
	}
	return next
}

func TestLife(t *testing.T) {
	a := newAPI(t)
	now := time.Now().Truncate(time.Second)
	for range 2 {
		a.expect(now, "credential bundle is not issued yet")
	}
	r := a.asked()
	if r.Spec.PodUID != a.pod.UID || r.Spec.NodeName != "n" || r.Spec.ServiceAccountName != "sa" || r.OwnerReferences[0].UID != a.pod.UID || r.Spec.UnverifiedUserAnnotations["example.com/a"] != "b" {
		t.Errorf("asked for %+v", r)
	}
	a.sign(r, "one", now)
	next := a.expect(now, "one")
	if next.Before(now.Add(time.Hour)) || next.After(now.Add(time.Hour+spread)) {
		t.Errorf("renewed after %s", next.Sub(now))
	}
	a.expect(next, "one") // while the next is asked for
	second := a.asked()
	if second.Name == r.Name {
		t.Error("the same request again")
	}
	a.expect(next.Add(overdue+time.Minute), "one")
	a.expect(now.Add(2*time.Hour+time.Second), "one")
	if want := "Warning CertificateOverdueForRefresh: PodCertificate refresh overdue, Warning CertificateExpired: PodCertificate expired"; strings.Join(a.events, ", ") != want {
		t.Errorf("events %q", a.events)
	}
	a.sign(second, "two", now)
	a.expect(now, "two")

	a.restart() // what the volume shows is good still
	if next := a.expect(now, "two"); next.After(now.Add(spread)) {
		t.Errorf("after a restart it is renewed in %s", next.Sub(now))
	}
	var page prom.Page
	a.keeper.Page(&page)
	if got := page.String(); !strings.Contains(got, `kubelet_podcertificate_states{signer_name="example.com/s",state="fresh"} 1`) {
		t.Error(got)
	}
	a.keeper.Forget(a.pod.UID)
	page = prom.Page{}
	if a.keeper.Page(&page); page.String() != "" {
		t.Error(page.String())
	}
}

// TestDenied: what a signer denies is denied for good, also when it comes up for renewal.
func TestDenied(t *testing.T) {
	a := newAPI(t)
	now := time.Now().Truncate(time.Second)
	a.expect(now, "credential bundle is not issued yet")
	a.answer(a.asked(), metav1.Condition{Type: certificates.PodCertificateRequestConditionTypeDenied, Reason: "No", Message: "not you"}, nil)
	for range 2 {
		a.expect(now, `PodCertificateRequest was permanently denied: reason="No" message="not you"`)
	}
	if len(a.events) != 1 || !strings.HasSuffix(a.events[0], ` was denied, reason="No", message="not you"`) {
		t.Errorf("events %q", a.events)
	}
}

// TestDeletedRequest: somebody deletes the request; another one is made.
func TestDeletedRequest(t *testing.T) {
	a := newAPI(t)
	now := time.Now().Truncate(time.Second)
	a.expect(now, "credential bundle is not issued yet")
	r := a.asked()
	if err := client.Delete[certificates.PodCertificateRequest](t.Context(), a.Client, object.KeyOf(r), ""); err != nil {
		t.Fatal(err)
	}
	a.expect(now, "credential bundle is not issued yet")
	a.sign(a.asked(), "again", now)
	a.expect(now, "again")
}

func TestKeys(t *testing.T) {
	for _, kind := range []string{"RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"} {
		key, stub, err := newKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		r, err := x509.ParseCertificateRequest(stub)
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode(key)
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil || len(rest) > 0 || r.CheckSignature() != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, _, err := newKey("DSA"); err == nil || err.Error() != `unknown key type "DSA"` {
		t.Error(err)
	}
}
