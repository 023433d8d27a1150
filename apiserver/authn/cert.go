package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxKnown bounds the certificates and tokens whose check is remembered.
const maxKnown = 4096

// Cert takes the user from a client certificate that Roots have signed: the common name is the user, organizations are groups.
type Cert struct {
	Roots *x509.CertPool
	known known[User]
}

// NewCert makes an authenticator that trusts roots.
func NewCert(roots *x509.CertPool) *Cert { return &Cert{Roots: roots} }

// Authenticate implements Authenticator. The signature of a certificate is checked once, its time for every request.
func (c *Cert) Authenticate(r *http.Request) (User, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return User{}, false, nil
	}
	cert := r.TLS.PeerCertificates[0]
	now := time.Now()
	id := sha256.Sum256(cert.Raw)
	if u, ok := c.known.get(id, now); ok {
		return u, true, nil
	}
	chain, err := verify(r.TLS.PeerCertificates, c.Roots, now)
	if err != nil {
		return User{}, false, err
	}
	if cert.Subject.CommonName == "" {
		return User{}, false, nil
	}
	uid, err := uidOf(cert)
	if err != nil {
		return User{}, false, err
	}
	u := User{
		Name: cert.Subject.CommonName, UID: uid, Groups: append(slices.Clone(cert.Subject.Organization), Authenticated),
		Extra: map[string][]string{CredentialKey: {"X509SHA256=" + hex.EncodeToString(id[:])}},
	}
	c.known.put(id, u, earliest(chain))
	return u, true, nil
}

// uidOID is the attribute of a subject that is the user's uid, in the arc of the Kubernetes project.
var uidOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

// uidOf is the uid that a certificate names; "" if it names none.
func uidOf(cert *x509.Certificate) (string, error) {
	var uids []string
	for _, name := range cert.Subject.Names {
		if !name.Type.Equal(uidOID) {
			continue
		}
		uid, ok := name.Value.(string)
		if !ok {
			return "", errors.New("unable to parse UID into a string")
		}
		uids = append(uids, uid)
	}
	switch {
	case len(uids) == 0:
		return "", nil
	case len(uids) > 1:
		return "", fmt.Errorf("expected 1 UID, but found multiple: %v", uids)
	case uids[0] == "":
		return "", errors.New("UID cannot be an empty string")
	}
	return uids[0], nil
}

// verify finds a chain from the first certificate to the roots, for the purpose of a client.
func verify(certs []*x509.Certificate, roots *x509.CertPool, now time.Time) ([]*x509.Certificate, error) {
	opt := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range certs[1:] {
		opt.Intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(opt)
	if err != nil {
		return nil, fmt.Errorf("verify client certificate of %s: %w", certs[0].Subject.CommonName, err)
	}
	return chains[0], nil
}

func earliest(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// known remembers what has been checked until it expires.
type known[V any] struct {
	mu sync.RWMutex // guards m
	m  map[[32]byte]checked[V]
}

type checked[V any] struct {
	v     V
	until time.Time
}

func (k *known[V]) get(id [32]byte, now time.Time) (v V, ok bool) {
	k.mu.RLock()
	c, ok := k.m[id]
	k.mu.RUnlock()
	if !ok || !now.Before(c.until) {
		return v, false
	}
	return c.v, true
}

func (k *known[V]) put(id [32]byte, v V, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil || len(k.m) >= maxKnown {
		k.m = map[[32]byte]checked[V]{}
	}
	k.m[id] = checked[V]{v, until}
}

// FrontProxy takes the user from the headers of a proxy that shows a client certificate of Roots, as Kubernetes' aggregation
// does: X-Remote-User, X-Remote-Uid, X-Remote-Group, X-Remote-Extra-*.
type FrontProxy struct {
	Roots *x509.CertPool
	Names []string // common names that proxies may have; none: any
}

// Authenticate implements Authenticator.
func (p *FrontProxy) Authenticate(r *http.Request) (User, bool, error) {
	name := r.Header.Get("X-Remote-User")
	if name == "" || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return User{}, false, nil
	}
	// A certificate of the cluster's own authority is no proxy; its own authenticator decides about it.
	if _, err := verify(r.TLS.PeerCertificates, p.Roots, time.Now()); err != nil {
		return User{}, false, nil
	}
	if cn := r.TLS.PeerCertificates[0].Subject.CommonName; len(p.Names) > 0 && !slices.Contains(p.Names, cn) {
		return User{}, false, fmt.Errorf("front proxy %q is not allowed", cn)
	}
	u := User{Name: name, UID: r.Header.Get("X-Remote-Uid"), Groups: slices.Clone(r.Header.Values("X-Remote-Group"))}
	u.Extra = ExtraHeaders(r.Header, "X-Remote-Extra-")
	return u, true, nil
}

// ExtraHeaders collects headers like X-Remote-Extra-Scopes: keys in lower case and percent-decoded; nil if there are none.
func ExtraHeaders(h http.Header, prefix string) map[string][]string {
	var extra map[string][]string
	for k, values := range h {
		rest, ok := strings.CutPrefix(strings.ToLower(k), strings.ToLower(prefix))
		if !ok {
			continue
		}
		if decoded, err := url.PathUnescape(rest); err == nil {
			rest = decoded
		}
		if extra == nil {
			extra = map[string][]string{}
		}
		extra[rest] = append(extra[rest], values...)
	}
	return extra
}
