package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Times and bounds of fetching keys.
const (
	fetchLimit = 10 * time.Second
	refresh    = time.Hour        // keys are fetched anew when they are so old
	pause      = 10 * time.Second // but never more often than so, whatever keys tokens name
	maxAnswer  = 1 << 20
)

// keys are the public keys of one issuer.
type keys struct {
	issuer, discovery string // URLs; discovery is where the document is
	client            *http.Client

	mu      sync.Mutex // guards all below, also while fetching: others wait for the same answer
	set     jose.JSONWebKeySet
	fetched time.Time
	err     error // of the last try
}

func newKeys(issuer, discovery, ca string) *keys {
	if discovery == "" {
		discovery = strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if ca != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(ca)) // checked with the configuration
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &keys{issuer: issuer, discovery: discovery, client: &http.Client{Transport: t, Timeout: fetchLimit}}
}

// find is the keys with an id, or all where the token names none.
func (k *keys) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := time.Since(k.fetched)
	found := k.pick(id)
	if age > refresh || len(found) == 0 && age > pause {
		set, err := k.fetch(ctx)
		k.fetched, k.err = time.Now(), err
		if err == nil {
			k.set = set
			found = k.pick(id)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	if k.err != nil {
		return nil, fmt.Errorf("oidc: authenticator for issuer %q is not initialized: %w", k.issuer, k.err)
	}
	return nil, errors.New("oidc: verify token: failed to verify signature: no key of the issuer has this id")
}

func (k *keys) pick(id string) []jose.JSONWebKey {
	if id == "" {
		return k.set.Keys
	}
	return k.set.Key(id)
}

// fetch reads the discovery document and the keys that it names (OpenID Connect Discovery 1.0 section 4).
func (k *keys) fetch(ctx context.Context) (set jose.JSONWebKeySet, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchLimit) // the answer is for others, too
	defer cancel()
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := k.get(ctx, k.discovery, &doc); err != nil {
		return set, err
	}
	if doc.Issuer != k.issuer {
		return set, fmt.Errorf("issuer did not match the issuer returned by provider, expected %q got %q", k.issuer, doc.Issuer)
	}
	err = k.get(ctx, doc.Keys, &set)
	return set, err
}

func (k *keys) get(ctx context.Context, url string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("read %s: %s", url, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil {
		err = json.Unmarshal(body, out)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	return nil
}
