package authn

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// Finder looks an object up; every client.View is one.
type Finder interface {
	Lookup(r client.Resource, key object.Key) (object.Object, bool)
}

// claims are the private claims of a service account token, and those of one that stands in a secret and never expires.
type claims struct {
	Kubernetes boundTo `json:"kubernetes.io"`

	Namespace  string    `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	Account    string    `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	AccountUID types.UID `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
	Secret     string    `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
}

type boundTo struct {
	Namespace string   `json:"namespace,omitempty"`
	Account   objRef   `json:"serviceaccount"`
	Pod       *objRef  `json:"pod,omitempty"`
	Secret    *objRef  `json:"secret,omitempty"`
	Node      *objRef  `json:"node,omitempty"`
	WarnAfter *numDate `json:"warnafter,omitempty"`
}

type numDate = jwt.NumericDate

type objRef struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

// signed is what the signature of a token vouches for.
type signed struct {
	jwt.Claims
	private claims
}

// TokensConfig is what NewTokens needs.
type TokensConfig struct {
	Issuer    string             // URL; only its tokens, and those of LegacyIssuer, are looked at
	Audiences []string           // of the API server; empty: Issuer
	Keys      []crypto.PublicKey // RSA or ECDSA
	Objects   Finder
	// Used is told of the secret whose token is used, the first time on a day; nil: nobody wants to know.
	Used func(*core.Secret)
}

// Tokens knows service account tokens. A check of a signature is remembered until the token expires; whether the objects behind it
// still exist is looked up for every request.
type Tokens struct {
	cfg   TokensConfig
	keys  map[string]crypto.PublicKey // by key id
	known known[signed]
}

// NewTokens makes a checker of service account tokens.
func NewTokens(cfg TokensConfig) (*Tokens, error) {
	if len(cfg.Audiences) == 0 {
		cfg.Audiences = []string{cfg.Issuer}
	}
	t := &Tokens{cfg: cfg, keys: map[string]crypto.PublicKey{}}
	for _, k := range cfg.Keys {
		id, err := keyID(k)
		if err != nil {
			return nil, err
		}
		t.keys[id] = k
	}
	return t, nil
}

// IssuerOf is what the token says of its issuer, which is not to be trusted: "" if it is no JWT.
func IssuerOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || strings.HasPrefix(strings.TrimSpace(token), "{") {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &c) != nil {
		return ""
	}
	return c.Issuer
}

// CheckToken implements TokenChecker.
func (t *Tokens) CheckToken(_ context.Context, token string, audiences []string) (User, []string, bool, error) {
	if i := IssuerOf(token); i == "" || i != t.cfg.Issuer && i != LegacyIssuer {
		return User{}, nil, false, nil
	}
	now := time.Now()
	id := sha256.Sum256([]byte(token))
	s, ok := t.known.get(id, now)
	if !ok {
		var err error
		if s, ok, err = t.verify(token); err != nil || !ok {
			return User{}, nil, false, err
		}
		until := now.Add(time.Hour)
		if s.Expiry != nil {
			until = s.Expiry.Time().Add(jwt.DefaultLeeway)
		}
		t.known.put(id, s, until)
	}
	own := []string(s.Audience)
	if len(own) == 0 {
		own = t.cfg.Audiences
	}
	match := intersect(audiences, own)
	if len(match) == 0 {
		return User{}, nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", own, audiences)
	}
	if s.Issuer == LegacyIssuer {
		u, err := t.legacy(&s.private, s.Subject, token, now)
		return u, match, err == nil, err
	}
	if err := inTime(s.Claims, now); err != nil {
		return User{}, nil, false, err
	}
	if err := t.alive(s.private.Kubernetes, now); err != nil {
		return User{}, nil, false, err
	}
	return s.user(), match, true, nil
}

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.ES384, jose.RS384, jose.ES512, jose.RS512}

// verify checks the signature and the issuer; false: it is no token of a form that we know.
func (t *Tokens) verify(token string) (s signed, ok bool, err error) {
	tok, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return s, false, nil
	}
	var errs []error
	for id, key := range t.keys {
		if kid := tok.Headers[0].KeyID; kid != "" && kid != id {
			continue
		}
		if err := tok.Claims(key, &s.Claims, &s.private); err != nil {
			errs = append(errs, err)
			continue
		}
		if s.Issuer != t.cfg.Issuer && s.Issuer != LegacyIssuer {
			return s, false, fmt.Errorf("token issuer %q is invalid", s.Issuer)
		}
		return s, true, nil
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("invalid signature, no keys found"))
	}
	return s, false, list(errs)
}

// inTime allows for clocks that differ by a minute.
func inTime(c jwt.Claims, now time.Time) error {
	switch err := c.Validate(jwt.Expected{Time: now}); {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrExpired):
		return errors.New("service account token has expired")
	case errors.Is(err, jwt.ErrNotValidYet):
		return errors.New("service account token is not valid yet")
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return errors.New("service account token is issued in the future")
	default:
		return fmt.Errorf("service account token claims could not be validated: %w", err)
	}
}

var errInvalidated = errors.New("service account token has been invalidated")

// alive checks that everything the token is bound to still exists. What is being deleted vouches for a minute longer: so that a pod may
// use the API while it shuts down.
func (t *Tokens) alive(b boundTo, now time.Time) error {
	o, err := lookup[core.ServiceAccount](t.cfg.Objects, object.Key{Namespace: b.Namespace, Name: b.Account.Name})
	if err != nil {
		return err
	}
	if o.UID != b.Account.UID {
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", o.UID, b.Account.UID)
	}
	if gone(o, now) {
		return fmt.Errorf("service account %s/%s has been deleted", b.Namespace, b.Account.Name)
	}
	if b.Secret != nil {
		if err := same[core.Secret](t.cfg.Objects, b.Namespace, *b.Secret, now, "secret"); err != nil {
			return err
		}
	}
	switch {
	case b.Pod != nil: // its node is for information only
		return same[core.Pod](t.cfg.Objects, b.Namespace, *b.Pod, now, "pod")
	case b.Node != nil:
		return same[core.Node](t.cfg.Objects, "", *b.Node, now, "node")
	}
	return nil
}

func lookup[T any, P object.Ptr[T]](f Finder, key object.Key) (P, error) {
	r := object.ResourceOf[T, P]()
	o, ok := f.Lookup(r, key)
	if !ok {
		return nil, apierrors.NewNotFound(r.GroupResource(), key.Name)
	}
	return o.(P), nil
}

func gone(o object.Object, now time.Time) bool {
	d := o.GetDeletionTimestamp()
	return d != nil && d.Time.Before(now.Add(-jwt.DefaultLeeway))
}

// same checks that one bound object is the one that the token names.
func same[T any, P object.Ptr[T]](f Finder, namespace string, ref objRef, now time.Time, kind string) error {
	o, err := lookup[T, P](f, object.Key{Namespace: namespace, Name: ref.Name})
	switch {
	case err != nil:
		return errInvalidated
	case object.Object(o).GetUID() != ref.UID:
		return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", kind, object.Object(o).GetUID(), kind, ref.UID)
	case gone(o, now):
		return errInvalidated
	}
	return nil
}

func accountName(namespace, name string) string { return AccountPrefix + namespace + ":" + name }

// AccountUser is the user that a service account is.
func AccountUser(namespace, name string, uid types.UID) User {
	return User{
		Name: accountName(namespace, name), UID: string(uid),
		Groups: []string{AccountsGroup, AccountsGroup + ":" + namespace, Authenticated},
	}
}

func (s signed) user() User {
	b := s.private.Kubernetes
	u := AccountUser(b.Namespace, b.Account.Name, b.Account.UID)
	u.Extra = map[string][]string{}
	add := func(key, value string) {
		if value != "" {
			u.Extra[key] = []string{value}
		}
	}
	if s.ID != "" {
		add(CredentialKey, "JTI="+s.ID)
	}
	if b.Pod != nil {
		add(podNameKey, b.Pod.Name)
		add(podUIDKey, string(b.Pod.UID))
	}
	if b.Node != nil {
		add(nodeNameKey, b.Node.Name)
		add(nodeUIDKey, string(b.Node.UID))
	}
	return u
}

// LegacyIssuer is the issuer of the tokens that stand in secrets.
const LegacyIssuer = "kubernetes/serviceaccount"

// Labels of the secrets of such tokens.
const (
	LastUsedLabel     = "kubernetes.io/legacy-token-last-used"
	invalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
)

// legacy checks a token that stands in a secret: it is good as long as it does.
func (t *Tokens) legacy(c *claims, subject, token string, now time.Time) (User, error) {
	for _, m := range []struct{ name, value string }{
		{"sub", subject}, {"namespace", c.Namespace}, {"secretName", c.Secret}, {"serviceAccountName", c.Account}, {"serviceAccountUID", string(c.AccountUID)},
	} {
		if m.value == "" {
			return User{}, fmt.Errorf("%s claim is missing", m.name)
		}
	}
	if subject != accountName(c.Namespace, c.Account) {
		return User{}, errors.New("sub claim is invalid")
	}
	secret, err := lookup[core.Secret](t.cfg.Objects, object.Key{Namespace: c.Namespace, Name: c.Secret})
	if err != nil || secret.DeletionTimestamp != nil {
		//lint:ignore ST1005 Kubernetes' own words
		return User{}, errors.New("Token has been invalidated")
	}
	if subtle.ConstantTimeCompare(secret.Data[core.ServiceAccountTokenKey], []byte(token)) == 0 {
		//lint:ignore ST1005 Kubernetes' own words
		return User{}, errors.New("Token does not match server's copy")
	}
	account, err := lookup[core.ServiceAccount](t.cfg.Objects, object.Key{Namespace: c.Namespace, Name: c.Account})
	switch {
	case err != nil:
		return User{}, err
	case account.DeletionTimestamp != nil:
		return User{}, fmt.Errorf("ServiceAccount %s/%s has been deleted", c.Namespace, c.Account)
	case account.UID != c.AccountUID:
		return User{}, fmt.Errorf("ServiceAccount UID (%s) does not match claim (%s)", account.UID, c.AccountUID)
	}
	t.note(secret, now)
	if secret.Labels[invalidSinceLabel] != "" {
		return User{}, fmt.Errorf("the token in secret %s/%s for service account %s/%s has been marked invalid. Use tokens from the TokenRequest API "+
			"or manually created secret-based tokens, or remove the '%s' label from the secret to temporarily allow use of this token",
			c.Namespace, c.Secret, c.Namespace, c.Account, invalidSinceLabel)
	}
	u := AccountUser(c.Namespace, c.Account, c.AccountUID)
	if slices.ContainsFunc(account.Secrets, func(r core.ObjectReference) bool { return r.Name == c.Secret }) {
		u.Warning = "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens."
	}
	return u, nil
}

// note tells that a secret's token is used, unless its label says so already for today (or tomorrow, by another server's clock).
func (t *Tokens) note(secret *core.Secret, now time.Time) {
	last, day := secret.Labels[LastUsedLabel], now.UTC()
	if t.cfg.Used != nil && last != day.Format(time.DateOnly) && last != day.AddDate(0, 0, 1).Format(time.DateOnly) {
		t.cfg.Used(secret)
	}
}
