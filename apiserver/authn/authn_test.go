package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
	"proa.dev/pki"
)

// shelf is a Finder over a few objects.
type shelf map[client.Resource]map[object.Key]object.Object

func (s shelf) Lookup(r client.Resource, key object.Key) (object.Object, bool) {
	o, ok := s[r][key]
	return o, ok
}

func (s shelf) put(o object.Object) {
	r := object.ResourceFor(object.KindOf(o))
	if s[r] == nil {
		s[r] = map[object.Key]object.Object{}
	}
	s[r][object.KeyOf(o)] = o
}

func meta(ns, name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(uid)}
}

type world struct {
	objects shelf
	account *core.ServiceAccount
	pod     *core.Pod
	issuer  *Issuer
	tokens  *Tokens
}

func newWorld(t testing.TB, key crypto.Signer) *world {
	t.Helper()
	w := &world{objects: shelf{}}
	w.account = &core.ServiceAccount{ObjectMeta: meta("shop", "web", "u1")}
	w.pod = &core.Pod{ObjectMeta: meta("shop", "web-0", "u2"), Spec: core.PodSpec{ServiceAccountName: "web", NodeName: "n1"}}
	w.objects.put(w.account)
	w.objects.put(w.pod)
	w.objects.put(&core.Node{ObjectMeta: meta("", "n1", "u3")})
	var err error
	w.issuer, err = NewIssuer(IssuerConfig{URL: DefaultIssuer, Signer: key, Objects: w.objects})
	if err != nil {
		t.Fatal(err)
	}
	w.tokens, err = NewTokens(TokensConfig{Issuer: DefaultIssuer, Keys: []crypto.PublicKey{key.Public()}, Objects: w.objects})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func ecKey(t testing.TB) crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) issue(t testing.TB, spec authentication.TokenRequestSpec) string {
	t.Helper()
	token, _, err := w.issuer.Issue(t.Context(), w.account, spec)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// check asks as the API server does.
func (w *world) check(token string, audiences []string) (User, []string, error) {
	return (&Bearer{Checkers: []TokenChecker{w.tokens}, Audiences: w.tokens.cfg.Audiences}).Review(context.Background(), token, audiences)
}

func podBound(uid string) authentication.TokenRequestSpec {
	return authentication.TokenRequestSpec{BoundObjectRef: &authentication.BoundObjectReference{
		APIVersion: "v1", Kind: "Pod", Name: "web-0", UID: types.UID(uid)}}
}

func request(token string) *http.Request {
	r := httptest.NewRequest("GET", "/api/v1/pods", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestTokenOfAPod(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{ecKey(t), rsaKey} {
		w := newWorld(t, key)
		r := request(w.issue(t, podBound("u2")))
		u, ok, err := Chain{&Bearer{Checkers: []TokenChecker{w.tokens}, Audiences: []string{DefaultIssuer}}}.Authenticate(r)
		if err != nil || !ok {
			t.Fatalf("%T: %v", key, err)
		}
		if len(u.Extra[CredentialKey]) != 1 || !strings.HasPrefix(u.Extra[CredentialKey][0], "JTI=") {
			t.Errorf("credential id %q", u.Extra[CredentialKey])
		}
		delete(u.Extra, CredentialKey)
		want := User{
			Name: "system:serviceaccount:shop:web", UID: "u1",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"},
			Extra: map[string][]string{
				podNameKey: {"web-0"}, podUIDKey: {"u2"}, nodeNameKey: {"n1"}, nodeUIDKey: {"u3"},
			},
		}
		if d := cmp.Diff(want, u); d != "" {
			t.Errorf("%T: user (-want +got)\n%s", key, d)
		}
		if r.Header.Get("Authorization") != "" {
			t.Error("the credential is still on the request")
		}
	}
}

// The audience of a token is a list, as Kubernetes writes it, even if it is one.
func TestTokenAudience(t *testing.T) {
	w := newWorld(t, ecKey(t))
	_, rest, _ := strings.Cut(w.issue(t, authentication.TokenRequestSpec{Audiences: []string{"vault"}}), ".")
	claims, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(claims)
	if err != nil || !strings.Contains(string(text), `"aud":["vault"]`) {
		t.Errorf("claims %s: %v", text, err)
	}
}

func TestTokenEndsWithWhatItIsBoundTo(t *testing.T) {
	for name, change := range map[string]func(*world){
		"pod gone":        func(w *world) { delete(w.objects[object.ResourceOf[core.Pod]()], object.KeyOf(w.pod)) },
		"pod replaced":    func(w *world) { w.objects.put(&core.Pod{ObjectMeta: meta("shop", "web-0", "other")}) },
		"account gone":    func(w *world) { delete(w.objects[object.ResourceOf[core.ServiceAccount]()], object.KeyOf(w.account)) },
		"account renewed": func(w *world) { w.objects.put(&core.ServiceAccount{ObjectMeta: meta("shop", "web", "other")}) },
		"pod deleted long ago": func(w *world) {
			p := w.pod.DeepCopy()
			p.DeletionTimestamp = &metav1.Time{Time: time.Now().Add(-2 * time.Minute)}
			w.objects.put(p)
		},
	} {
		w := newWorld(t, ecKey(t))
		token := w.issue(t, podBound(""))
		if _, _, err := w.check(token, nil); err != nil {
			t.Fatalf("before: %v", err)
		}
		change(w)
		if u, _, err := w.check(token, nil); err == nil {
			t.Errorf("%s: the token is still %s", name, u.Name)
		}
	}
}

func TestTokenExpires(t *testing.T) {
	key := ecKey(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, key)
		seconds := int64(600)
		token := w.issue(t, authentication.TokenRequestSpec{ExpirationSeconds: &seconds})
		time.Sleep(9 * time.Minute)
		if _, _, err := w.check(token, nil); err != nil {
			t.Errorf("after 9 of 10 minutes: %v", err)
		}
		time.Sleep(2*time.Minute + time.Second) // clocks may differ by one
		if _, _, err := w.check(token, nil); err == nil {
			t.Error("an expired token is good")
		}
	})
}

func TestTokenAudiences(t *testing.T) {
	w := newWorld(t, ecKey(t))
	vault := w.issue(t, authentication.TokenRequestSpec{Audiences: []string{"vault", "b"}})
	if _, _, err := w.check(vault, nil); err == nil {
		t.Error("a token for vault opens the API")
	}
	_, got, err := w.check(vault, []string{"a", "b", "vault"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"b", "vault"}, got); d != "" {
		t.Errorf("audiences (-want +got)\n%s", d)
	}
}

func TestForgedTokens(t *testing.T) {
	w, other := newWorld(t, ecKey(t)), newWorld(t, ecKey(t))
	good := w.issue(t, podBound("u2"))
	parts := strings.Split(good, ".")
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	changed := enc([]byte(strings.Replace(string(body), `"web"`, `"root"`, 1)))
	for name, token := range map[string]string{
		"another cluster": other.issue(t, podBound("u2")), "changed claims": parts[0] + "." + changed + "." + parts[2],
		"no signature": enc([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", "half": good[:len(good)/2], "garbage": "x.y.z",
		"symmetric": enc([]byte(`{"alg":"HS256"}`)) + "." + parts[1] + "." + parts[2],
	} {
		if u, ok, err := (WithAnonymous{Next: Chain{&Bearer{Checkers: []TokenChecker{w.tokens}, Audiences: []string{DefaultIssuer}}}}).Authenticate(request(token)); err == nil {
			t.Errorf("%s: let in as %+v, %v", name, u, ok)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	w := newWorld(t, ecKey(t))
	_, _, err := w.issuer.Issue(t.Context(), w.account, podBound("wrong"))
	if !apierrors.IsConflict(err) {
		t.Errorf("another pod: %v, want a conflict", err)
	}
	w.pod.Spec.ServiceAccountName = "other"
	if _, _, err = w.issuer.Issue(t.Context(), w.account, podBound("")); !apierrors.IsBadRequest(err) {
		t.Errorf("a pod of another account: %v", err)
	}
	spec := podBound("")
	spec.BoundObjectRef.Name = "gone"
	if _, _, err = w.issuer.Issue(t.Context(), w.account, spec); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is not there: %v", err)
	}
}

func TestAnonymousOnlyWhereAllowed(t *testing.T) {
	a := WithAnonymous{Next: Chain{}, May: func(path string) bool { return path == "/healthz" }}
	for path, want := range map[string]bool{"/healthz": true, "/healthz/ping": false, "/api/v1/pods": false, "/": false} {
		u, ok, err := a.Authenticate(httptest.NewRequest("GET", path, nil))
		if ok != want || err != nil || ok && (u.Name != Anonymous || len(u.Groups) != 1 || u.Groups[0] != Unauthenticated) {
			t.Errorf("%s: %+v, %v, %v", path, u, ok, err)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	ours, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := Chain{NewCert(ours.CAPool()), &FrontProxy{Roots: ours.FrontProxyCAPool()}}
	leaf := pki.Leaf{Name: "bob", Groups: []string{"dev"}, Client: true}
	for range 2 { // the second is remembered
		u, ok, err := a.Authenticate(withCert(t, ours.Issue, leaf))
		if err != nil || !ok || u.Name != "bob" || !cmp.Equal(u.Groups, []string{"dev", Authenticated}) {
			t.Errorf("%+v, %v, %v", u, ok, err)
		}
	}
	if _, _, err := a.Authenticate(withCert(t, theirs.Issue, leaf)); err == nil {
		t.Error("a certificate of another cluster was taken")
	}
	if _, _, err := a.Authenticate(withCert(t, ours.Issue, pki.Leaf{Name: "web", DNS: []string{"web"}})); err == nil {
		t.Error("a serving certificate was taken for a client's")
	}
	expired := leaf
	expired.Life = -time.Minute
	if _, _, err := a.Authenticate(withCert(t, ours.Issue, expired)); err == nil {
		t.Error("an expired certificate was taken")
	}
	r := withCert(t, ours.IssueFrontProxy, pki.Leaf{Name: "front", Client: true})
	r.Header.Set("X-Remote-User", "eve")
	r.Header.Add("X-Remote-Group", "ops")
	r.Header.Set("X-Remote-Extra-Acme.com%2fproject", "p1")
	u, ok, _ := a.Authenticate(r)
	want := User{Name: "eve", Groups: []string{"ops", Authenticated}, Extra: map[string][]string{"acme.com/project": {"p1"}}}
	if d := cmp.Diff(want, u); !ok || d != "" {
		t.Errorf("front proxy: %v (-want +got)\n%s", ok, d)
	}
	r = withCert(t, ours.Issue, leaf)
	r.Header.Set("X-Remote-User", "root")
	if u, _, err := a.Authenticate(r); err != nil || u.Name != "bob" {
		t.Errorf("a user with the headers of a proxy is %q, %v", u.Name, err)
	}
}

func withCert(t *testing.T, issue func(pki.Leaf) ([]byte, []byte, error), l pki.Leaf) *http.Request {
	t.Helper()
	data, _, err := issue(l)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/api", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	return r
}

func TestDiscovery(t *testing.T) {
	h, err := Discovery(DefaultIssuer, []crypto.PublicKey{ecKey(t).Public()}, "https://10.0.0.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", DiscoveryPath, nil))
	var doc map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil || doc["issuer"] != DefaultIssuer || doc["jwks_uri"] != "https://10.0.0.1:6443/openid/v1/jwks" {
		t.Errorf("%v, %v", doc, err)
	}
	rec = httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", KeysPath, nil))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].Valid() || !set.Keys[0].IsPublic() {
		t.Errorf("%s, %v", rec.Body, err)
	}
}

func TestWebSocketToken(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-Websocket-Protocol", "v5.channel.k8s.io, "+wsBearer+base64.RawURLEncoding.EncodeToString([]byte("tok")))
	if token, ok := bearer(r); !ok || token != "tok" {
		t.Errorf("got %q, %v", token, ok)
	}
}

func FuzzToken(f *testing.F) {
	w := newWorld(f, ecKey(f))
	f.Add(w.issue(f, podBound("u2")))
	f.Add("a.b.c")
	good := w.issue(f, podBound("u2"))
	f.Fuzz(func(t *testing.T, token string) {
		if _, _, err := w.check(token, nil); err == nil && !strings.HasPrefix(token, strings.Split(good, ".")[0]) {
			t.Errorf("%q is a good token", token)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	w := newWorld(b, ecKey(b))
	token := w.issue(b, podBound("u2"))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := w.check(token, nil); err != nil {
			b.Fatal(err)
		}
	}
}
