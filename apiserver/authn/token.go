package authn

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// Finder looks an object up; every client.View is one.
type Finder interface {
	Lookup(r client.Resource, key object.Key) (object.Object, bool)
}

// goneLeeway is how long after its deletion began an account, pod or secret still vouches for a token: so that a pod may use the
// API while it shuts down.
const goneLeeway = 60 * time.Second

// claims are the private claims of a service account token.
type claims struct {
	Kubernetes boundTo `json:"kubernetes.io"`
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
	boundTo
}

// TokensConfig is what NewTokens needs.
type TokensConfig struct {
	Issuer    string             // URL; only its tokens are looked at
	Audiences []string           // of the API server; empty: Issuer
	Keys      []crypto.PublicKey // RSA or ECDSA
	Objects   Finder
}

// Tokens authenticates service account tokens. A check of a signature is remembered until the token expires; whether the objects
// behind it still exist is looked up for every request.
type Tokens struct {
	cfg   TokensConfig
	keys  map[string]crypto.PublicKey // by key id
	known known[signed]
}

// NewTokens makes an authenticator of tokens in the header "Authorization: Bearer", or in the subprotocol of a WebSocket.
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

// wsBearer is the subprotocol by which browsers, who cannot set headers on WebSockets, send a token.
const wsBearer = "base64url.bearer.authorization.k8s.io."

// Authenticate implements Authenticator. It takes the credential off the request, lest it be forwarded.
func (t *Tokens) Authenticate(r *http.Request) (User, bool, error) {
	token, ok := bearer(r)
	if !ok {
		return User{}, false, nil
	}
	u, _, err := t.Check(token, nil)
	if err != nil {
		return User{}, false, err
	}
	r.Header.Del("Authorization")
	return u, true, nil
}

func bearer(r *http.Request) (string, bool) {
	if scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "Bearer") {
		token = strings.TrimSpace(token)
		return token, token != ""
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return "", false
	}
	for _, list := range r.Header.Values("Sec-Websocket-Protocol") {
		for _, p := range strings.Split(list, ",") {
			if enc, ok := strings.CutPrefix(strings.TrimSpace(p), wsBearer); ok {
				token, err := base64.RawURLEncoding.DecodeString(enc)
				return string(token), err == nil && len(token) > 0
			}
		}
	}
	return "", false
}

// Check verifies a token for any of audiences, or those of the API server where there are none. It returns the user and which
// of the audiences the token is for.
func (t *Tokens) Check(token string, audiences []string) (User, []string, error) {
	if len(audiences) == 0 {
		audiences = t.cfg.Audiences
	}
	now := time.Now()
	id := sha256.Sum256([]byte(token))
	s, ok := t.known.get(id, now)
	if !ok {
		var err error
		if s, err = t.verify(token, now); err != nil {
			return User{}, nil, fmt.Errorf("check token: %w", err)
		}
		t.known.put(id, s, s.Expiry.Time())
	}
	match := intersect(audiences, s.Audience)
	if len(match) == 0 {
		return User{}, nil, fmt.Errorf("check token: it is for %q, not for %q", s.Audience, audiences)
	}
	if err := t.alive(s.boundTo, now); err != nil {
		return User{}, nil, fmt.Errorf("check token: %w", err)
	}
	return s.user(), match, nil
}

// verify checks the signature, the issuer and the time.
func (t *Tokens) verify(token string, now time.Time) (signed, error) {
	tok, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.ES384, jose.RS384, jose.ES512, jose.RS512})
	if err != nil {
		return signed{}, err
	}
	var s signed
	var private claims
	err = errors.New("signed with an unknown key")
	for id, key := range t.keys {
		if kid := tok.Headers[0].KeyID; kid != "" && kid != id {
			continue
		}
		if err = tok.Claims(key, &s.Claims, &private); err == nil {
			break
		}
	}
	if err != nil {
		return signed{}, err
	}
	s.boundTo = private.Kubernetes
	switch {
	case s.Issuer != t.cfg.Issuer:
		return signed{}, fmt.Errorf("issuer %q is not %q", s.Issuer, t.cfg.Issuer)
	case s.Expiry == nil:
		return signed{}, errors.New("it never expires")
	case s.Subject != accountName(s.Namespace, s.Account.Name) || s.Account.Name == "" || s.Namespace == "":
		return signed{}, fmt.Errorf("subject %q is not its service account", s.Subject)
	}
	return s, s.ValidateWithLeeway(jwt.Expected{Time: now}, 0)
}

func intersect(a, b []string) (both []string) {
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}

// alive checks that everything the token is bound to still exists.
func (t *Tokens) alive(b boundTo, now time.Time) error {
	if err := exists[core.ServiceAccount](t.cfg.Objects, b.Namespace, b.Account, now); err != nil {
		return fmt.Errorf("service account: %w", err)
	}
	if b.Secret != nil {
		if err := exists[core.Secret](t.cfg.Objects, b.Namespace, *b.Secret, now); err != nil {
			return fmt.Errorf("secret: %w", err)
		}
	}
	if b.Pod != nil {
		if err := exists[core.Pod](t.cfg.Objects, b.Namespace, *b.Pod, now); err != nil {
			return fmt.Errorf("pod: %w", err)
		}
	}
	// The node of a pod is information; only a token bound to a node itself ends with it.
	if b.Node != nil && b.Pod == nil {
		if err := exists[core.Node](t.cfg.Objects, "", *b.Node, now); err != nil {
			return fmt.Errorf("node: %w", err)
		}
	}
	return nil
}

func exists[T any, P object.Ptr[T]](f Finder, namespace string, ref objRef, now time.Time) error {
	key := object.Key{Namespace: namespace, Name: ref.Name}
	o, ok := f.Lookup(object.ResourceOf[T, P](), key)
	if !ok {
		return fmt.Errorf("%s does not exist", key)
	}
	if o.GetUID() != ref.UID {
		return fmt.Errorf("%s is another one than that of the token", key)
	}
	if d := o.GetDeletionTimestamp(); d != nil && d.Add(goneLeeway).Before(now) {
		return fmt.Errorf("%s is being deleted", key)
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
	u := AccountUser(s.Namespace, s.Account.Name, s.Account.UID)
	u.Extra = map[string][]string{}
	add := func(key, value string) {
		if value != "" {
			u.Extra[key] = []string{value}
		}
	}
	if s.ID != "" {
		add(credentialKey, "JTI="+s.ID)
	}
	if s.Pod != nil {
		add(podNameKey, s.Pod.Name)
		add(podUIDKey, string(s.Pod.UID))
	}
	if s.Node != nil {
		add(nodeNameKey, s.Node.Name)
		add(nodeUIDKey, string(s.Node.UID))
	}
	return u
}
