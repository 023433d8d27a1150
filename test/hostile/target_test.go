package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/certificates"
	"proa.dev/apiserver/admission/ingressclass"
	"proa.dev/apiserver/admission/limitranger"
	"proa.dev/apiserver/admission/nodes"
	"proa.dev/apiserver/admission/podsecurity"
	"proa.dev/apiserver/admission/policy"
	"proa.dev/apiserver/admission/resourcequota"
	"proa.dev/apiserver/admission/volumes"
	"proa.dev/apiserver/admission/webhook"
	"proa.dev/apiserver/apitest"
)

// mayStay is how much more memory may be in use at the end than at a fifth of the way, in bytes: what is stored is little and bounded by
// its names.
const mayStay = 64 << 20

// target is the server that requests are sent to.
type target struct {
	base    string
	clients []*http.Client // taken in turns: HTTP/1.1, HTTP/2
	remote  bool
}

// connected is the server that the flags name, or a new one with every part of admission.
func connected(t *testing.T) target {
	t.Helper()
	if *address == "" {
		s := apitest.Start(t, func(d *apiserver.Deps) {
			d.Plugins = []admission.Plugin{certificates.New, limitranger.New, nodes.New, podsecurity.New, volumes.New, webhook.New, ingressclass.New, policy.New, resourcequota.New}
		})
		return target{base: s.URL, clients: []*http.Client{client(&http.Transport{})}}
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		t.Fatal(err)
	}
	config := func(protocol string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, NextProtos: []string{protocol}}
	}
	return target{base: *address, remote: true, clients: []*http.Client{
		client(&http.Transport{TLSClientConfig: config("http/1.1"), TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}),
		client(&http.Transport{TLSClientConfig: config("h2"), ForceAttemptHTTP2: true}),
	}}
}

func client(t *http.Transport) *http.Client {
	t.DisableCompression, t.MaxIdleConnsPerHost = true, 8
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// send sends the n-th request, and returns the code and the body of the answer; 0 where there is none: the client refuses to send such a
// request, or the server ends the connection.
func (to target) send(q request, n uint64) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 70*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, q.method, to.base, bytes.NewReader(q.body))
	if err != nil {
		return 0, err.Error()
	}
	r.URL.Path, r.URL.RawQuery = "/", ""
	if r.URL.Opaque = q.path; strings.HasPrefix(q.path, "//") {
		r.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: q.path}
	}
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	if host := q.header["Host"]; host != "" {
		r.Host = host
	}
	long := strings.Contains(q.path, "watch") || strings.Contains(q.path, "follow=1")
	if _, err := url.ParseRequestURI(q.path); err != nil {
		n = 0 // in HTTP/2 the server resets such a stream, and the client tries again for a minute
	}
	answer, err := to.clients[n%uint64(len(to.clients))].Do(r)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return http.StatusInternalServerError, "no answer in time"
		}
		return 0, err.Error()
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return answer.StatusCode, ""
	}
	if long && answer.StatusCode == http.StatusOK { // ends when nothing more is to come
		defer time.AfterFunc(20*time.Millisecond, cancel).Stop()
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, 128<<20))
	if err != nil && !long && errors.Is(err, io.ErrUnexpectedEOF) {
		return http.StatusInternalServerError, "the answer ends in the middle: " + string(body)
	}
	return answer.StatusCode, string(body)
}

// memory is how many bytes the server's heap uses, after a collection.
func (to target) memory(t *testing.T) uint64 {
	t.Helper()
	if !to.remote {
		for range 2 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	code, page := to.send(request{method: "GET", path: "/debug/pprof/heap?gc=1&debug=1"}, 0)
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(line, "# HeapAlloc = "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("the server does not say how much memory it uses: %d %.200s", code, page)
	return 0
}
