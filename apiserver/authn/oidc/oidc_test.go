package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"proa.dev/apiserver/authn"
)

// provider is an identity provider with one key.
type provider struct {
	*httptest.Server
	signer jose.Signer
	asked  int // for keys
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, p.URL, p.URL+"/keys")
		case "/keys":
			p.asked++
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.Close)
	if p.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// token is one of the provider, good for an hour unless more says otherwise.
func (p *provider) token(t testing.TB, more map[string]any) string {
	t.Helper()
	c := map[string]any{"iss": p.URL, "aud": "cluster", "exp": time.Now().Add(time.Hour).Unix(), "sub": "1"}
	for k, v := range more {
		c[k] = v
	}
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := p.signer.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// config is a file for the provider; rest follows the issuer.
func (p *provider) config(rest string) string {
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}))
	indent := func(s, by string) string {
		return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+by)
	}
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: " + p.URL +
		"\n    audiences: [cluster]\n    certificateAuthority: |\n      " + indent(ca, "      ") + "\n  " + indent(rest, "  ") + "\n"
}

func checker(t testing.TB, text string) *Checker {
	t.Helper()
	c, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	k, err := New(c, []string{"api"})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestClaimsMakeAUser(t *testing.T) {
	p := newProvider(t)
	k := checker(t, p.config(`claimMappings:
  username: {claim: email, prefix: "oidc:"}
  groups: {claim: groups, prefix: "g:"}
  uid: {claim: sub}
  extra:
  - {key: example.com/tenant, valueExpression: claims.tenant}
claimValidationRules:
- {claim: hd, requiredValue: example.com}
- {expression: "claims.exp - claims.iat <= 86400", message: too long}
userValidationRules:
- {expression: "!user.username.startsWith('system:')", message: reserved}`))
	good := map[string]any{"email": "eve@example.com", "email_verified": true, "groups": []string{"dev", "ops"}, "tenant": "t1", "hd": "example.com",
		"iat": time.Now().Unix(), "jti": "j1"}
	u, aud, ok, err := k.CheckToken(t.Context(), p.token(t, good), []string{"other", "api"})
	want := authn.User{Name: "oidc:eve@example.com", UID: "1", Groups: []string{"g:dev", "g:ops"},
		Extra: map[string][]string{"example.com/tenant": {"t1"}, authn.CredentialKey: {"JTI=j1"}}}
	if d := cmp.Diff(want, u); err != nil || !ok || d != "" || !cmp.Equal(aud, []string{"api"}) {
		t.Errorf("%v, %v, audiences %v (-want +got)\n%s", ok, err, aud, d)
	}
	for name, c := range map[string]struct {
		change map[string]any
		want   string
	}{
		"unverified":   {map[string]any{"email_verified": false}, "oidc: email not verified"},
		"no name":      {map[string]any{"email": ""}, `oidc: parse username claims "email": claim not present`},
		"other domain": {map[string]any{"hd": "x"}, "oidc: required claim hd value does not match. Got = x, want = example.com"},
		"too long":     {map[string]any{"iat": 1}, "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 86400' failed: too long"},
		"audience":     {map[string]any{"aud": []string{"x"}}, `oidc: verify token: oidc: expected audience in ["cluster"] got ["x"]`},
		"expired":      {map[string]any{"exp": 1}, "oidc: verify token: oidc: token is expired"},
		"early":        {map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, "oidc: verify token: oidc: current time"},
		"no group":     {map[string]any{"groups": []any{1}}, `oidc: parse groups claim "groups"`},
	} {
		all := map[string]any{}
		for _, m := range []map[string]any{good, c.change} {
			for key, v := range m {
				all[key] = v
			}
		}
		if _, _, ok, err := k.CheckToken(t.Context(), p.token(t, all), []string{"api"}); ok || err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %s", name, ok, err, c.want)
		}
	}
	if p.asked != 1 {
		t.Errorf("the keys were fetched %d times", p.asked)
	}
}

func TestExpressionsMakeAUser(t *testing.T) {
	p := newProvider(t)
	k := checker(t, p.config(`claimMappings:
  username: {expression: "'x:' + claims.sub"}
  groups: {expression: "claims.roles.split(',')"}
  uid: {expression: claims.sub}`))
	u, _, ok, err := k.CheckToken(t.Context(), p.token(t, map[string]any{"roles": "a,b"}), []string{"api"})
	if want := (authn.User{Name: "x:1", UID: "1", Groups: []string{"a", "b"}}); !ok || err != nil || !cmp.Equal(u, want) {
		t.Errorf("%+v, %v, %v", u, ok, err)
	}
}

func TestTokensOfOthers(t *testing.T) {
	p, q := newProvider(t), newProvider(t)
	k := checker(t, p.config("claimMappings: {username: {claim: sub, prefix: \"\"}}"))
	for name, token := range map[string]string{"another issuer": q.token(t, nil), "no JWT": "abcdef.0123456789abcdef", "empty": ""} {
		if _, _, ok, err := k.CheckToken(t.Context(), token, []string{"api"}); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if _, _, ok, err := k.CheckToken(t.Context(), q.token(t, map[string]any{"iss": p.URL}), []string{"api"}); ok || err == nil {
		t.Errorf("a token that another has signed: %v, %v", ok, err)
	}
	if _, _, ok, err := k.CheckToken(t.Context(), p.token(t, nil), []string{"vault"}); ok || err != nil {
		t.Errorf("asked for another audience: %v, %v", ok, err)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	head := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	for text, want := range map[string]string{
		head + "jwts: []\n": `f.yaml:3: unknown key "jwts"`,
		"kind: x\n":         `f.yaml: it is a "x" of "", not an AuthenticationConfiguration of apiserver.config.k8s.io/v1`,
		head + "jwt:\n- issuer: {url: 'http://x', audiences: [a]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n": `f.yaml: jwt[0].issuer.url: "http://x" is not an https URL`,
		head + "jwt:\n- issuer: {url: 'https://x', audiences: []}\n  claimMappings: {username: {claim: sub}}\n":             "f.yaml: jwt[0].issuer.audiences: at least one is required",
		head + "anonymous: {enabled: false, conditions: [{path: /x}]}\n":                                                    "f.yaml: anonymous.conditions: conditions for nobody",
	} {
		if _, err := Parse("f.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	p := newProvider(t)
	for rest, want := range map[string]string{
		"claimMappings: {username: {expression: claims.}}":                                                              "jwt[0].claimMappings.username.expression: compilation failed: ",
		"claimMappings: {username: {expression: \"1\"}}":                                                                "jwt[0].claimMappings.username.expression: must evaluate to string",
		"claimMappings: {username: {expression: claims.email}}":                                                         "jwt[0].claimMappings.username.expression: claims.email_verified must be used",
		"claimMappings: {username: {claim: a, prefix: \"\"}}\nuserValidationRules: [{expression: user.username}]":       "jwt[0].userValidationRules[0].expression: must evaluate to bool",
		"claimMappings: {username: {claim: a, prefix: \"\"}}\nuserValidationRules: [{expression: user.usernam == 'x'}]": "jwt[0].userValidationRules[0].expression: compilation failed: ERROR: <input>:1:5: undefined field 'usernam'",
	} {
		c, err := Parse("f.yaml", []byte(p.config(rest)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(c, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// FuzzToken looks for tokens that are taken for good, or that make the checks panic.
func FuzzToken(f *testing.F) {
	p := newProvider(f)
	k := checker(f, p.config("claimMappings: {username: {claim: sub, prefix: \"\"}}"))
	good := p.token(f, nil)
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if _, _, ok, err := k.CheckToken(t.Context(), token, []string{"api"}); ok && err == nil && token != good {
			t.Errorf("%q is good", token)
		}
	})
}

// Whatever a configuration says, it is read or refused.
func FuzzParse(f *testing.F) {
	f.Add([]byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'https://a', audiences: [b]}\n  claimMappings: {username: {expression: 'claims.sub'}, extra: [{key: a.b/c, valueExpression: \"'x'\"}]}\n  claimValidationRules: [{expression: 'claims.a == 1'}]\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Parse("f", data); (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
	})
}
