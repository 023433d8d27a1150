package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/object"
)

// DefaultIssuer is the issuer of tokens and the audience of the API server in a cluster with the usual domain.
const DefaultIssuer = "https://kubernetes.default.svc.cluster.local"

// defaultSeconds is the life of a token for which none was asked.
const defaultSeconds = 3600

// IssuerConfig is what NewIssuer needs.
type IssuerConfig struct {
	URL       string        // the "iss" claim
	Audiences []string      // of tokens that ask for none; empty: URL
	Signer    crypto.Signer // RSA or ECDSA
	Objects   Finder        // where bound objects are looked up
	MaxLife   time.Duration // longest life of a token, at least one hour; 0: no limit
}

// Issuer makes service account tokens.
type Issuer struct {
	cfg    IssuerConfig
	signer jose.Signer
}

// NewIssuer checks the key.
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	if len(cfg.Audiences) == 0 {
		cfg.Audiences = []string{cfg.URL}
	}
	alg, err := algorithm(cfg.Signer.Public())
	if err != nil {
		return nil, err
	}
	id, err := keyID(cfg.Signer.Public())
	if err != nil {
		return nil, err
	}
	key := jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: cfg.Signer, KeyID: id, Algorithm: string(alg)}}
	s, err := jose.NewSigner(key, nil)
	if err != nil {
		return nil, fmt.Errorf("use the service account key: %w", err)
	}
	return &Issuer{cfg: cfg, signer: s}, nil
}

// Audiences are those of tokens that ask for none: the API server's.
func (i *Issuer) Audiences() []string { return i.cfg.Audiences }

// Limit is the longest life of a token; 0: there is no limit.
func (i *Issuer) Limit() time.Duration { return i.cfg.MaxLife }

// The life of a pod's token for which its volume asks since tokens expire. Pods that read their token only once get it for a year, and a
// note in it says when it would have ended.
const (
	podSeconds = 3607
	longLife   = 365 * 24 * time.Hour
)

// Issue makes a token for an account as spec asks: its audiences, life (an hour by default) and the pod, secret or node that it
// is bound to, which must exist. It answers when the token ends as far as its user is concerned. Errors are those of the API.
func (i *Issuer) Issue(_ context.Context, account *core.ServiceAccount, spec authentication.TokenRequestSpec) (token string, expires time.Time, err error) {
	b := boundTo{Namespace: account.Namespace, Account: objRef{account.Name, account.UID}}
	if spec.BoundObjectRef != nil {
		if err := i.bind(&b, account, spec.BoundObjectRef); err != nil {
			return "", time.Time{}, err
		}
	}
	seconds := int64(defaultSeconds)
	if spec.ExpirationSeconds != nil {
		seconds = *spec.ExpirationSeconds
	}
	life := time.Duration(seconds) * time.Second
	if i.cfg.MaxLife > 0 {
		life = min(life, i.cfg.MaxLife)
	}
	audiences := spec.Audiences
	if len(audiences) == 0 {
		audiences = i.cfg.Audiences
	}
	now := time.Now().Truncate(time.Second)
	expires = now.Add(life)
	end := expires
	if b.Pod != nil && life == podSeconds*time.Second && len(intersect(audiences, i.cfg.Audiences)) == len(audiences) {
		b.WarnAfter = jwt.NewNumericDate(expires)
		end = now.Add(longLife)
	}
	public := jwt.Claims{
		Issuer: i.cfg.URL, Subject: accountName(account.Namespace, account.Name), ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(end),
	}
	// The audience is a list even if it is one: jwt.Claims would make it a string.
	token, err = jwt.Signed(i.signer).Claims(public).Claims(map[string]any{"kubernetes.io": b, "aud": audiences}).Serialize()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token: %w", err)
	}
	return token, expires, nil
}

// Secret makes the token that stands in a secret: it never expires, and is good while the secret and the account exist.
func (i *Issuer) Secret(account *core.ServiceAccount, secret string) (string, error) {
	public := jwt.Claims{Issuer: LegacyIssuer, Subject: accountName(account.Namespace, account.Name)}
	private := map[string]any{
		"kubernetes.io/serviceaccount/namespace": account.Namespace, "kubernetes.io/serviceaccount/secret.name": secret,
		"kubernetes.io/serviceaccount/service-account.name": account.Name, "kubernetes.io/serviceaccount/service-account.uid": string(account.UID),
	}
	token, err := jwt.Signed(i.signer).Claims(public).Claims(private).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return token, nil
}

// bind fills in what a token is bound to.
func (i *Issuer) bind(b *boundTo, account *core.ServiceAccount, ref *authentication.BoundObjectReference) error {
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch gvk.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		o, err := i.bound(core.SchemeGroupVersion.WithResource("pods"), account.Namespace, ref)
		if err != nil {
			return err
		}
		pod := o.(*core.Pod)
		if pod.Spec.ServiceAccountName != account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		b.Pod = &objRef{pod.Name, pod.UID}
		if name := pod.Spec.NodeName; name != "" {
			b.Node = &objRef{Name: name}
			if n, ok := i.cfg.Objects.Lookup(core.SchemeGroupVersion.WithResource("nodes"), object.Key{Name: name}); ok {
				b.Node.UID = n.GetUID()
			}
		}
	case schema.GroupKind{Kind: "Secret"}:
		o, err := i.bound(core.SchemeGroupVersion.WithResource("secrets"), account.Namespace, ref)
		if err != nil {
			return err
		}
		b.Secret = &objRef{o.GetName(), o.GetUID()}
	case schema.GroupKind{Kind: "Node"}:
		o, err := i.bound(core.SchemeGroupVersion.WithResource("nodes"), "", ref)
		if err != nil {
			return err
		}
		b.Node = &objRef{o.GetName(), o.GetUID()}
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk))
	}
	return nil
}

func (i *Issuer) bound(r schema.GroupVersionResource, namespace string, ref *authentication.BoundObjectReference) (object.Object, error) {
	o, ok := i.cfg.Objects.Lookup(r, object.Key{Namespace: namespace, Name: ref.Name})
	if !ok {
		return nil, apierrors.NewNotFound(r.GroupResource(), ref.Name)
	}
	if ref.UID != "" && o.GetUID() != ref.UID {
		return nil, conflict(ref)
	}
	return o, nil
}

func conflict(ref *authentication.BoundObjectReference) error {
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name, fmt.Errorf(
		"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
}

func algorithm(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		case 521:
			return jose.ES512, nil
		}
	}
	return "", fmt.Errorf("a key of type %T cannot sign tokens", key)
}

// keyID names a key in the header of tokens and in the published set: the hash of its public part.
func keyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("name a service account key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// Paths of the documents by which others find the keys of an issuer (OpenID Connect Discovery 1.0 section 4).
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
)

// Discovery answers DiscoveryPath and KeysPath for tokens of issuer that one of keys signed. Others reach the keys at address, as
// "https://10.0.0.1:6443".
func Discovery(issuer string, keys []crypto.PublicKey, address string) (http.Handler, error) {
	var set jose.JSONWebKeySet
	var algs []string
	for _, k := range keys {
		alg, err := algorithm(k)
		if err != nil {
			return nil, err
		}
		id, err := keyID(k)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k, KeyID: id, Algorithm: string(alg), Use: "sig"})
		if !slices.Contains(algs, string(alg)) {
			algs = append(algs, string(alg))
		}
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("publish service account keys: there are none")
	}
	published, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("publish service account keys: %w", err)
	}
	doc, err := json.Marshal(map[string]any{
		"issuer": issuer, "jwks_uri": address + KeysPath, "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": algs,
	})
	if err != nil {
		return nil, fmt.Errorf("publish service account keys: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+DiscoveryPath, serve("application/json", doc))
	mux.HandleFunc("GET "+KeysPath, serve("application/jwk-set+json", published))
	return mux, nil
}

func serve(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(body) // a reader that has gone away
	}
}
