package aggregate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/kit/tunnel"
	"proa.dev/object"
)

// backend is the way to the server that answers for one group version.
type backend struct {
	*Aggregator
	version schema.GroupVersion
	at      object.Key // the service
	port    int32
	view    client.View
	stop    context.CancelFunc
	bell    chan struct{} // something has changed: look again

	service atomic.Pointer[registration.APIService]
	bad     error           // why there are no transports
	plain   *http.Transport // HTTP/2 where the other side can
	upgrade *http.Transport // HTTP/1.1, for requests that become something else
	known   atomic.Pointer[known]
	openapi documents
}

func newBackend(a *Aggregator, v client.View, s *registration.APIService) *backend {
	b := &backend{
		Aggregator: a, view: v, version: schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}, bell: make(chan struct{}, 1),
		at: object.Key{Namespace: s.Spec.Service.Namespace, Name: s.Spec.Service.Name}, port: ptr.Deref(s.Spec.Service.Port, 443),
	}
	b.service.Store(s)
	tlsConfig := &tls.Config{
		ServerName: b.at.Name + "." + b.at.Namespace + ".svc", InsecureSkipVerify: s.Spec.InsecureSkipTLSVerify,
		GetClientCertificate: a.config.Certificate,
	}
	if len(s.Spec.CABundle) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(s.Spec.CABundle) {
			b.bad = errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	b.plain = &http.Transport{
		TLSClientConfig: tlsConfig, TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 25, IdleConnTimeout: 90 * time.Second,
		DialContext:       (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2: true, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}, // a dead peer must not hold watches
	}
	b.upgrade = b.plain.Clone()
	b.upgrade.Protocols = new(http.Protocols)
	b.upgrade.Protocols.SetHTTP1(true)
	b.upgrade.ForceAttemptHTTP2, b.upgrade.HTTP2 = false, nil
	b.upgrade.TLSClientConfig.NextProtos = []string{"http/1.1"}
	return b
}

// learn takes a new state of the APIService, whose spec is as before.
func (b *backend) learn(s *registration.APIService) { b.service.Store(s) }

// wake has the backend looked at now.
func (b *backend) wake() {
	select {
	case b.bell <- struct{}{}:
	default: // it will be looked at anyway
	}
}

func (b *backend) close() {
	b.plain.CloseIdleConnections()
	b.upgrade.CloseIdleConnections()
}

// refuse answers in the aggregator's way: text, no Status.
func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Cache-Control", "no-cache, private")
	http.Error(w, text, code)
}

// ServeHTTP passes a request on, upgrades and endless bodies included.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isAvailable(b.service.Load()) {
		refuse(w, http.StatusServiceUnavailable, "service unavailable")
		return
	}
	if b.bad != nil {
		refuse(w, http.StatusInternalServerError, b.bad.Error())
		return
	}
	user, ok := authn.From(r.Context())
	if !ok {
		refuse(w, http.StatusInternalServerError, "missing user")
		return
	}
	address, err := b.config.Resolve(b.view, b.at, b.port)
	if err != nil {
		b.config.Log.Debug("resolve a service", "service", b.at, "err", err)
		refuse(w, http.StatusServiceUnavailable, "service unavailable")
		return
	}
	to := &url.URL{Scheme: "https", Host: address, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	b.forward(w, r, to, user)
}

func (b *backend) forward(w http.ResponseWriter, r *http.Request, to *url.URL, user authn.User) {
	if tunnel.Asked(r) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, to.String(), nil)
		if err == nil {
			out.Header = r.Header.Clone()
			identify(out.Header, user)
			err = tunnel.Serve(w, r, out, b.upgrade)
		}
		if err != nil && r.Context().Err() == nil {
			refuse(w, http.StatusServiceUnavailable, err.Error())
		}
		return
	}
	id := w.Header().Get("Audit-Id")
	p := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL, pr.Out.Host = to, to.Host
			identify(pr.Out.Header, user)
			pr.SetXForwarded()
			if id != "" {
				pr.Out.Header.Set("Audit-Id", id)
			}
		},
		Transport:     b.plain,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(b.config.Log.Handler(), slog.LevelDebug),
		ModifyResponse: func(resp *http.Response) error {
			for name := range resp.Header { // what both servers say is said once
				w.Header().Del(name)
			}
			if resp.StatusCode/100 == 3 && resp.Header.Get("Location") != "" {
				noRedirect(resp)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				refuse(w, http.StatusServiceUnavailable, err.Error())
			}
		},
	}
	p.ServeHTTP(w, r)
}

// noRedirect replaces a redirection: it would lead clients, and their credentials, to wherever the server likes.
func noRedirect(resp *http.Response) {
	const text = "the backend attempted to redirect this request, which is not permitted"
	resp.Body.Close()
	resp.StatusCode, resp.Status = http.StatusBadGateway, ""
	resp.Header = http.Header{"Content-Length": {strconv.Itoa(len(text))}}
	resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
}

// identify says by headers who asks, and takes away what only this server was to see.
func identify(h http.Header, user authn.User) {
	h.Del("Authorization")
	for k := range h {
		if strings.HasPrefix(k, "Impersonate-") || strings.HasPrefix(k, "X-Remote-") {
			h.Del(k)
		}
	}
	h.Set("X-Remote-User", user.Name)
	if user.UID != "" {
		h.Set("X-Remote-Uid", user.UID)
	}
	for _, g := range user.Groups {
		h.Add("X-Remote-Group", g)
	}
	for k, values := range user.Extra {
		name := "X-Remote-Extra-" + escapeKey(k)
		for _, v := range values {
			h.Add(name, v)
		}
	}
}

// escapeKey percent-encodes what may not stand in a header's name, and the percent sign itself.
func escapeKey(key string) string {
	var out strings.Builder
	for i := range len(key) {
		if c := key[i]; c == '%' || !isToken(c) {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// isToken says whether c may stand in a token (RFC 9110 section 5.6.2).
func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
