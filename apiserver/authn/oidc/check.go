package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"proa.dev/apiserver/authn"
)

// Checker knows the tokens of the issuers of one Config. It implements authn.TokenChecker.
type Checker struct {
	issuers   []*issuer
	audiences []string // of the API server, for which a good token is good
}

// issuer is one provider at work.
type issuer struct {
	Issuer
	keys  *keys
	exprs *exprs
}

// New makes a checker of what c says. It fetches nothing. Errors name the expression that is wrong.
func New(c *Config, audiences []string) (*Checker, error) {
	k := &Checker{audiences: audiences}
	for i := range c.JWT {
		j := &c.JWT[i]
		e, err := compile(j)
		if err != nil {
			return nil, fmt.Errorf("jwt[%d].%w", i, err)
		}
		k.issuers = append(k.issuers, &issuer{Issuer: *j, exprs: e, keys: newKeys(j.Issuer.URL, j.Issuer.DiscoveryURL, j.Issuer.CertificateAuthority)})
	}
	return k, nil
}

var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512}

// CheckToken implements authn.TokenChecker.
func (k *Checker) CheckToken(ctx context.Context, token string, audiences []string) (authn.User, []string, bool, error) {
	var match []string
	for _, a := range audiences {
		if slices.Contains(k.audiences, a) {
			match = append(match, a)
		}
	}
	if len(match) == 0 {
		return authn.User{}, nil, false, nil
	}
	url := authn.IssuerOf(token)
	for _, i := range k.issuers {
		if i.Issuer.Issuer.URL != url || url == "" {
			continue
		}
		u, err := i.check(ctx, token)
		return u, match, err == nil, err
	}
	return authn.User{}, nil, false, nil
}

// check verifies a token and makes its user.
func (i *issuer) check(ctx context.Context, token string) (authn.User, error) {
	payload, err := i.verify(ctx, token)
	if err != nil {
		return authn.User{}, err
	}
	c, err := readClaims(payload)
	if err != nil {
		return authn.User{}, err
	}
	if err := i.valid(c, time.Now()); err != nil {
		return authn.User{}, err
	}
	u, err := i.user(ctx, c)
	if err != nil {
		return authn.User{}, err
	}
	for _, r := range i.ClaimValidationRules {
		if r.Claim == "" {
			continue
		}
		switch v, ok := c[r.Claim]; {
		case !ok:
			return authn.User{}, fmt.Errorf("oidc: required claim %s not present in ID token", r.Claim)
		case v != any(r.RequiredValue):
			return authn.User{}, fmt.Errorf("oidc: required claim %s value does not match. Got = %v, want = %s", r.Claim, v, r.RequiredValue)
		}
	}
	if err := i.exprs.rules(ctx, c, u); err != nil {
		return authn.User{}, err
	}
	return u, nil
}

// verify checks the signature.
func (i *issuer) verify(ctx context.Context, token string) ([]byte, error) {
	t, err := jose.ParseSigned(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("oidc: verify token: oidc: malformed jwt: %w", err)
	}
	found, err := i.keys.find(ctx, t.Signatures[0].Header.KeyID)
	if err != nil {
		return nil, err
	}
	for _, k := range found {
		if payload, err := t.Verify(&k); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("oidc: verify token: failed to verify signature: failed to verify id token signature")
}

// claims are those of a token, numbers as json.Number reads them.
type claims map[string]any

func readClaims(payload []byte) (claims, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, fmt.Errorf("oidc: parse claims: %w", err)
	}
	return c, nil
}

// leeway is for clocks that differ.
const leeway = 5 * time.Minute

// valid checks for whom and when the token is good (OpenID Connect Core 1.0 section 3.1.3.7).
func (i *issuer) valid(c claims, now time.Time) error {
	if c["iss"] != any(i.Issuer.Issuer.URL) {
		return fmt.Errorf("oidc: verify token: oidc: id token issued by a different provider, expected %q got %q", i.Issuer.Issuer.URL, c["iss"])
	}
	var aud []string
	switch v := c["aud"].(type) {
	case string:
		aud = []string{v}
	case []any:
		for _, a := range v {
			if s, ok := a.(string); ok {
				aud = append(aud, s)
			}
		}
	}
	if !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(i.Issuer.Issuer.Audiences, a) }) {
		return fmt.Errorf("oidc: verify token: oidc: expected audience in %q got %q", i.Issuer.Issuer.Audiences, aud)
	}
	end, ok := c["exp"].(float64)
	if !ok || !now.Before(time.Unix(int64(end), 0)) {
		return fmt.Errorf("oidc: verify token: oidc: token is expired (Token Expiry: %v)", time.Unix(int64(end), 0).UTC())
	}
	if from, ok := c["nbf"].(float64); ok && now.Add(leeway).Before(time.Unix(int64(from), 0)) {
		return fmt.Errorf("oidc: verify token: oidc: current time %v before the nbf (not before) time: %v", now.UTC(), time.Unix(int64(from), 0).UTC())
	}
	return nil
}

// user maps the claims to a user.
func (i *issuer) user(ctx context.Context, c claims) (u authn.User, err error) {
	m := &i.ClaimMappings
	switch {
	case m.Username.Claim != "":
		if u.Name, err = i.name(c); err != nil {
			return u, err
		}
	default:
		if u.Name, err = i.exprs.text(ctx, i.exprs.username, c); err != nil {
			return u, fmt.Errorf("oidc: error evaluating username claim expression: %w", err)
		}
		if u.Name == "" {
			return u, errors.New("oidc: username claim expression evaluated to an empty string")
		}
	}
	switch {
	case m.Groups.Claim != "":
		if u.Groups, err = texts(c, m.Groups.Claim); err != nil {
			return u, err
		}
		for n := range u.Groups {
			u.Groups[n] = *m.Groups.Prefix + u.Groups[n]
		}
	case m.Groups.Expression != "":
		if u.Groups, err = i.exprs.list(ctx, i.exprs.groups, c); err != nil {
			return u, fmt.Errorf("oidc: error evaluating group claim expression: %w", err)
		}
	}
	switch {
	case m.UID.Claim != "":
		v, ok := c[m.UID.Claim].(string)
		if !ok {
			return u, fmt.Errorf("oidc: parse uid claim %q: it is no string", m.UID.Claim)
		}
		u.UID = v
	case m.UID.Expression != "":
		if u.UID, err = i.exprs.text(ctx, i.exprs.uid, c); err != nil {
			return u, fmt.Errorf("oidc: error evaluating uid claim expression: %w", err)
		}
	}
	for n, e := range m.Extra {
		values, err := i.exprs.list(ctx, i.exprs.extra[n], c)
		if err != nil {
			return u, fmt.Errorf("oidc: error evaluating extra claim expression: %w", err)
		}
		if len(values) > 0 {
			if u.Extra == nil {
				u.Extra = map[string][]string{}
			}
			u.Extra[e.Key] = values
		}
	}
	if id, ok := c["jti"].(string); ok && id != "" {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[authn.CredentialKey] = []string{"JTI=" + id}
	}
	return u, nil
}

// name is the user's name by a claim. An address that its provider has not verified is nobody's.
func (i *issuer) name(c claims) (string, error) {
	claim := i.ClaimMappings.Username.Claim
	v, ok := c[claim].(string)
	if !ok || v == "" {
		return "", fmt.Errorf("oidc: parse username claims %q: claim not present", claim)
	}
	if claim == "email" {
		if verified, given := c["email_verified"]; given && verified != any(true) {
			return "", errors.New("oidc: email not verified")
		}
	}
	return *i.ClaimMappings.Username.Prefix + v, nil
}

// texts is a claim that is a string or a list of strings; nil if it is not there.
func texts(c claims, claim string) ([]string, error) {
	switch v := c[claim].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var out []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("oidc: parse groups claim %q: it has an element that is no string", claim)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("oidc: parse groups claim %q: it is neither a string nor a list", claim)
}
