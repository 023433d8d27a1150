package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/client"
)

// Config is where a webhook is. Exactly one of URL and Service is set.
type Config struct {
	URL     string
	Service *Service
	CA      []byte // PEM of what signs its certificate; empty: the roots of this machine
}

// Service is a webhook behind a service of the cluster.
type Service struct {
	Namespace, Name string
	Path            string
	Port            int32 // 0 is 443
}

const (
	maxClients = 200      // connections are kept to so many webhooks
	maxAnswer  = 64 << 20 // bytes of an answer: conversions are large
	maxError   = 2048     // bytes of an answer that is no success, as they are shown
	idleFor    = 90 * time.Second
	dialFor    = 30 * time.Second
)

// Clients is the connections to webhooks. All methods may be called at once.
type Clients struct {
	view client.View

	mu  sync.Mutex // guards all
	all map[key]*caller
}

// key is a Config by value.
type key struct {
	url, ca string
	service Service
}

// caller is one webhook.
type caller struct {
	base *url.URL
	http *http.Client
}

// New makes no connection.
func New(view client.View) *Clients { return &Clients{view: view, all: map[key]*caller{}} }

// ErrConfig says that a Config cannot be used at all.
type ErrConfig struct{ Err error }

func (e *ErrConfig) Error() string { return e.Err.Error() }

func (e *ErrConfig) Unwrap() error { return e.Err }

// Post sends a JSON body and returns what is answered with a code of success. A webhook that answers otherwise makes an error that has
// a Status. The webhook is told how much time it has, by ?timeout=, if ctx has a deadline.
func (c *Clients) Post(ctx context.Context, config Config, body []byte) ([]byte, error) {
	to, err := c.caller(config)
	if err != nil {
		return nil, &ErrConfig{err}
	}
	u := *to.base
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > 0 { // in whole seconds, rounded up
			u.RawQuery = "timeout=" + url.QueryEscape((((left + time.Second - 1) / time.Second) * time.Second).String())
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*")
	req.Header.Set("User-Agent", "kube-apiserver-admission") // as webhooks know it
	resp, err := to.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("unexpected error when reading response body. Please retry. Original error: %w", err)
	}
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the response has more than %d bytes", maxAnswer)
	}
	if resp.StatusCode < http.StatusOK || resp.StatusCode > http.StatusPartialContent {
		return nil, refusal(resp, answer)
	}
	if len(answer) == 0 {
		return nil, fmt.Errorf("0-length response with status code: %d and content type: %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return answer, nil
}

// refusal is the error of an answer that is no success: the Status in it, or one made of its code.
func refusal(resp *http.Response, answer []byte) error {
	message := "unknown"
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.Header.Get("Content-Type") == "" || err == nil && strings.HasPrefix(t, "text/") {
		message = strings.TrimSpace(string(answer[:min(len(answer), maxError)]))
	}
	after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	known := apierrors.NewGenericServerResponse(resp.StatusCode, http.MethodPost, schema.GroupResource{}, "", message, after, true)
	if !apierrors.IsUnexpectedServerError(known) {
		return known
	}
	var own metav1.Status
	if json.Unmarshal(answer, &own) == nil && own.Kind == "Status" && own.APIVersion == "v1" && own.Status == metav1.StatusFailure {
		return &apierrors.StatusError{ErrStatus: own}
	}
	return known
}

// caller is the one for config.
func (c *Clients) caller(config Config) (*caller, error) {
	k := key{url: config.URL, ca: string(config.CA)}
	if config.Service != nil {
		k.service = *config.Service
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.all[k]; have != nil {
		return have, nil
	}
	made, err := c.connect(config)
	if err != nil {
		return nil, err
	}
	for old, is := range c.all {
		if len(c.all) < maxClients {
			break
		}
		is.http.CloseIdleConnections()
		delete(c.all, old)
	}
	c.all[k] = made
	return made, nil
}

func (c *Clients) connect(config Config) (*caller, error) {
	dialer := &net.Dialer{Timeout: dialFor, KeepAlive: dialFor}
	t := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: idleFor, MaxIdleConnsPerHost: 25,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if len(config.CA) > 0 {
		roots, err := pool(config.CA)
		if err != nil {
			return nil, fmt.Errorf("unable to load root certificates: %w", err)
		}
		t.TLSClientConfig.RootCAs = roots
	}
	// HTTP/1.1 spreads requests over the endpoints of a webhook; HTTP/2 would keep to one.
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	base := &url.URL{Scheme: "https"}
	switch s := config.Service; {
	case s != nil:
		port := s.Port
		if port == 0 {
			port = 443
		}
		name := s.Name + "." + s.Namespace + ".svc"
		base.Host, base.Path = net.JoinHostPort(name, strconv.Itoa(int(port))), path.Join("/", s.Path)
		t.TLSClientConfig.ServerName = name
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			to, err := resolve(c.view, s.Namespace, s.Name, port)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, to)
		}
	case config.URL != "":
		u, err := url.Parse(config.URL)
		if err != nil {
			return nil, fmt.Errorf("unparsable URL: %w", err)
		}
		base.Scheme, base.Host, base.Path = u.Scheme, u.Host, path.Join("/", u.Path)
		t.Proxy = http.ProxyFromEnvironment
		if isLocal(u.Hostname()) {
			t.Protocols.SetHTTP2(true)
		}
	default:
		return nil, errors.New("webhook configuration must have either service or URL")
	}
	return &caller{base: base, http: &http.Client{Transport: t}}, nil
}

func isLocal(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// pool is the certificates in a PEM text.
func pool(text []byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if p.AppendCertsFromPEM(text) {
		return p, nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("unable to parse bytes as PEM block")
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("failed to parse certificate: %w", err)
	}
	return nil, errors.New("no valid certificate authority data seen")
}
