package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"proa.dev/runtime/reference"
)

// Config says how registries are reached. The zero value works.
type Config struct {
	// Hosts has what is special about a registry, by its name in image names: "docker.io", "registry.lan:5000".
	Hosts map[string]Host
	// UserAgent is sent with every request; default "proa".
	UserAgent string
	// Attempts is how often a request is tried in all; default 5.
	Attempts int
	// Pause is the wait before the second attempt; it doubles. Default 500 ms.
	Pause time.Duration
	// Stall is how long a download may bring no byte before it is broken off and tried again; default 1 minute.
	Stall time.Duration
}

// Host is what is special about one registry.
type Host struct {
	Mirrors    []string         // base URLs asked first: "https://mirror.lan:5000", or with a path before "/v2"
	PlainHTTP  bool             // http instead of https
	SkipVerify bool             // any certificate will do
	CA         []byte           // PEM certificates trusted besides the system's
	Cert       *tls.Certificate // shown to a registry that asks for one
	Auth       *Auth            // used when a pull brings no credentials
}

// Auth is credentials for one registry, as pull secrets and CRI have them. Which fields are set decides.
type Auth struct {
	Username      string
	Password      string
	IdentityToken string // traded for an access token at the token server
	RegistryToken string // sent as it is
}

// Client talks to registries. It is safe for concurrent use.
type Client struct {
	config Config

	mu      sync.Mutex // guards the fields below
	clients map[string]*http.Client
	plain   map[string]bool // hosts on this machine that speak plain HTTP
	tokens  map[tokenKey]token
}

// New checks the configuration.
func New(c Config) (*Client, error) {
	if c.UserAgent == "" {
		c.UserAgent = "proa"
	}
	if c.Attempts == 0 {
		c.Attempts = 5
	}
	if c.Pause == 0 {
		c.Pause = 500 * time.Millisecond
	}
	if c.Stall == 0 {
		c.Stall = time.Minute
	}
	for name, h := range c.Hosts {
		if len(h.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(h.CA) {
			return nil, fmt.Errorf("registry %s: no PEM certificate in its CA", name)
		}
		for _, m := range h.Mirrors {
			u, err := url.Parse(m)
			if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
				return nil, fmt.Errorf("registry %s: mirror %q: want a URL with http or https", name, m)
			}
		}
	}
	return &Client{
		config:  c,
		clients: make(map[string]*http.Client),
		plain:   make(map[string]bool),
		tokens:  make(map[tokenKey]token),
	}, nil
}

// endpoint is one server that may have a repository.
type endpoint struct {
	name   string // for errors: "docker.io", or the mirror's URL
	host   string // the server's host and port
	base   string // URL up to and without "/v2"
	path   string // repository
	auth   *Auth
	try    bool // plain HTTP may be tried when https is not spoken: on this machine only
	tries  int  // attempts at a request
	client *http.Client
}

// Repository is one repository of images, with the credentials of one pull.
type Repository struct {
	c         *Client
	ref       reference.Ref
	endpoints []*endpoint
}

// Repository returns the repository that a name speaks of. It does not connect.
func (c *Client) Repository(ref reference.Ref, auth *Auth) *Repository {
	h := c.config.Hosts[ref.Domain]
	r := &Repository{c: c, ref: ref}
	for _, m := range h.Mirrors {
		u, err := url.Parse(m)
		if err != nil {
			continue // New has checked it
		}
		r.endpoints = append(r.endpoints, &endpoint{
			name:   m,
			host:   u.Host,
			base:   strings.TrimSuffix(strings.TrimSuffix(m, "/"), "/v2"),
			path:   ref.Path,
			auth:   c.config.Hosts[u.Host].Auth,
			tries:  min(2, c.config.Attempts), // there is another one to ask
			client: c.client(u.Host),
		})
	}
	server := ref.Domain
	if server == "docker.io" {
		server = "registry-1.docker.io"
	}
	scheme := "https"
	if h.PlainHTTP || c.isPlain(server) {
		scheme = "http"
	}
	if auth == nil {
		auth = h.Auth
	}
	r.endpoints = append(r.endpoints, &endpoint{
		name:   ref.Domain,
		host:   server,
		base:   scheme + "://" + server,
		path:   ref.Path,
		auth:   auth,
		try:    scheme == "https" && isLoopback(server),
		tries:  c.config.Attempts,
		client: c.client(ref.Domain),
	})
	return r
}

// client returns the HTTP client with a host's certificates. Connections are shared between pulls.
func (c *Client) client(name string) *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hc, ok := c.clients[name]; ok {
		return hc
	}
	h := c.config.Hosts[name]
	conf := &tls.Config{InsecureSkipVerify: h.SkipVerify, MinVersion: tls.VersionTLS12}
	if len(h.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(h.CA)
		conf.RootCAs = pool
	}
	if h.Cert != nil {
		conf.Certificates = []tls.Certificate{*h.Cert}
	}
	dialer := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	hc := &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       conf,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   8,
		DisableCompression:    true, // blobs are compressed, and must stay as they are
	}}
	c.clients[name] = hc
	return hc
}

func (c *Client) isPlain(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plain[host]
}

// goPlain turns an endpoint on this machine to plain HTTP when that is what it speaks.
func (c *Client) goPlain(e *endpoint, err error) bool {
	if !e.try || !errors.Is(err, http.ErrSchemeMismatch) {
		return false
	}
	e.try = false
	e.base = "http://" + e.host
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plain[e.host] = true
	return true
}

func isLoopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.IsLoopback()
}

// sleep waits for a pause between attempts.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
