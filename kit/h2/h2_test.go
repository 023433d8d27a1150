package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// site is a server with TLS, ours or net/http's own.
type site struct {
	*httptest.Server
	roots *x509.CertPool
	log   *lines
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serve(t testing.TB, ours bool, h http.Handler, change func(*http.Server)) *site {
	t.Helper()
	s := &site{Server: httptest.NewUnstartedServer(h), log: &lines{}}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(s.log, "", 0)
	if change != nil {
		change(s.Config)
	}
	if ours {
		s.Listener = Install(s.Config, s.Listener)
	}
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	s.roots = x509.NewCertPool()
	s.roots.AddCert(s.Certificate())
	return s
}

func (s *site) client(change func(*http.Transport)) *http.Client {
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: s.roots, ServerName: "example.com"}}
	if change != nil {
		change(tr)
	}
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answers is what handlers may do.
var answers = map[string]http.HandlerFunc{
	"nothing": func(w http.ResponseWriter, r *http.Request) {},
	"small":   func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") },
	"html":    func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") },
	"typed": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header()["X-Two"] = []string{"a", "b"}
		w.Header().Set("Connection", "keep-alive")
		w.WriteHeader(201)
		w.Header().Set("X-Late", "no")
		io.WriteString(w, "{}")
	},
	"encoded": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "x")
		w.Write([]byte("abc"))
	},
	"no type": func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Type"] = nil; w.Write([]byte("abc")) },
	"no date": func(w http.ResponseWriter, r *http.Request) { w.Header()["Date"] = nil; w.Write([]byte("abc")) },
	"no value": func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Bad\n"] = []string{"x"}
		w.Header().Set("Bad", "a\nb")
	},
	"declared": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "3")
		io.WriteString(w, "abc")
	},
	"bad count": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "x")
		io.WriteString(w, "abc")
	},
	"too little": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "abc")
	},
	"nothing of 5": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "5") },
	"204": func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(204)
		if _, err := w.Write([]byte("x")); err != http.ErrBodyNotAllowed {
			panic(err)
		}
	},
	"304": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Etag", "x"); w.WriteHeader(304) },
	"404": http.NotFound,
	"302": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
	"flush": func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		io.WriteString(w, "b")
	},
	"first flush": func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
		io.WriteString(w, "b")
	},
	"large": func(w http.ResponseWriter, r *http.Request) {
		for i := range 300 {
			if _, err := w.Write(bytes.Repeat([]byte{byte(i)}, 10_000)); err != nil {
				panic(err)
			}
		}
	},
	"large at once": func(w http.ResponseWriter, r *http.Request) {
		w.Write(bytes.Repeat([]byte("0123456789abcdef"), 400_000))
	},
	"long header": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Long", strings.Repeat("v", 100_000)) },
	"trailer": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-End, X-None")
		io.WriteString(w, "body")
		w.Header().Set("X-End", "yes")
		w.Header().Set(http.TrailerPrefix+"X-More", "too")
	},
	"only trailer": func(w http.ResponseWriter, r *http.Request) { w.Header().Set(http.TrailerPrefix+"X-More", "too") },
	"early hints": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "x")
		w.WriteHeader(103)
		io.WriteString(w, "then")
	},
	"echo": func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, r.Body)
		fmt.Fprint(w, "|", n, err, r.ContentLength, r.Trailer)
	},
	"look": func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		for _, name := range slices.Sorted(maps.Keys(h)) {
			fmt.Fprintln(w, name, h[name])
		}
		fmt.Fprintln(w, r.Method, r.URL, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Host[:9], r.ContentLength, r.TransferEncoding, r.Close, r.TLS.NegotiatedProtocol, r.Trailer)
		_, local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		_, server := r.Context().Value(http.ServerContextKey).(*http.Server)
		_, hijack := w.(http.Hijacker)
		fmt.Fprintln(w, local, server, hijack, r.RemoteAddr != "")
	},
	"closed body": func(w http.ResponseWriter, r *http.Request) {
		r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		fmt.Fprint(w, err != nil)
	},
	"unread body": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "done") },
	"abort":       func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x"); panic(http.ErrAbortHandler) },
	"late abort": func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "x")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	},
}

// route finds the answer that the path names.
func route(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if h, ok := answers[name]; ok {
		h(w, r)
		return
	}
	http.NotFound(w, r)
}

// told is all that a client sees.
func told(c *http.Client, r *http.Request) string {
	resp, err := c.Do(r)
	if err != nil {
		return "error" // the words differ
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if _, ok := resp.Header["Date"]; ok {
		resp.Header.Set("Date", "now")
	}
	if len(b) > 1000 {
		b = fmt.Appendf(nil, "%d bytes, the last are %q", len(b), b[len(b)-50:])
	}
	var out strings.Builder
	fmt.Fprintln(&out, resp.Status, resp.Proto, resp.ContentLength, err != nil, resp.Uncompressed)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		fmt.Fprintln(&out, name, len(resp.Header[name]), resp.Header[name][0][:min(len(resp.Header[name][0]), 100)])
	}
	fmt.Fprintf(&out, "%s\n%v", b, resp.Trailer)
	return out.String()
}

// TestLikeNetHTTP sends the same requests to net/http's server and to ours.
func TestLikeNetHTTP(t *testing.T) {
	ours, theirs := serve(t, true, http.HandlerFunc(route), nil), serve(t, false, http.HandlerFunc(route), nil)
	oc, tc := ours.client(nil), theirs.client(nil)
	bodies := map[string]func() io.Reader{
		"none":    func() io.Reader { return nil },
		"short":   func() io.Reader { return strings.NewReader("a body") },
		"unknown": func() io.Reader { return io.MultiReader(strings.NewReader("a "), strings.NewReader("body")) },
		"long":    func() io.Reader { return bytes.NewReader(make([]byte, 3<<20)) },
	}
	for _, name := range append(slices.Sorted(maps.Keys(answers)), "missing") {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
			for how, body := range bodies {
				if how != "none" && (method == "GET" || method == "HEAD" || method == "OPTIONS") {
					continue
				}
				ask := func(s *site, c *http.Client) string {
					r, err := http.NewRequest(method, s.URL+"/"+strings.ReplaceAll(name, " ", "%20")+"?q=1", body())
					if err != nil {
						t.Fatal(err)
					}
					r.Header = http.Header{"X-Twice": {"a", "b"}, "Cookie": {"a=b", "c=d"}, "X-Empty": {""}, "Te": {"trailers"}}
					if how == "unknown" {
						r.Trailer = http.Header{"X-After": {"all"}}
					}
					if how == "short" {
						r.Header.Set("Expect", "100-continue")
					}
					return told(c, r)
				}
				if got, want := ask(ours, oc), ask(theirs, tc); got != want {
					t.Errorf("%s %q with body %s:\n%s\nnet/http says:\n%s", method, name, how, got, want)
				}
			}
		}
	}
	if got, want := ours.log.String(), ""; got != want {
		t.Errorf("logged %q", got)
	}
}

func TestPanicIsLogged(t *testing.T) {
	s := serve(t, true, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boo") }), nil)
	if _, err := s.client(nil).Get(s.URL); err == nil {
		t.Error("a panic was answered")
	}
	until(t, func() bool { // it is written after the stream was reset
		got := s.log.String()
		return strings.Contains(got, "panic serving 127.0.0.1") && strings.Contains(got, "boo")
	})
}

func TestThousandStreams(t *testing.T) {
	const n = 1000
	var at sync.WaitGroup
	at.Add(n)
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at.Done()
		at.Wait() // all are there at once
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		for range 20 {
			w.Write(b)
			http.NewResponseController(w).Flush()
		}
	}), func(srv *http.Server) { srv.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: n} })
	c := s.client(nil)
	var dialed atomic.Int32
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			want := strings.Repeat(fmt.Sprint(i, " "), 500)
			resp, err := c.Post(s.URL, "text/plain", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || string(got) != strings.Repeat(want, 20) {
				t.Errorf("%d: got %d bytes (%v), want %d", i, len(got), err, 20*len(want))
			}
		})
	}
	wg.Wait()
}

func TestShutdownFinishesWhatIsUnderWay(t *testing.T) {
	begun, release := make(chan bool), make(chan bool)
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		begun <- true
		<-release
		io.WriteString(w, "finished")
	}), nil)
	c := s.client(nil)
	resp, err := c.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	down := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { down <- s.Config.Shutdown(ctx) }()
	select {
	case err := <-down:
		t.Fatalf("shut down with a request under way: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "finished" {
		t.Errorf("the request ended with %q, %v", b, err)
	}
	if err := <-down; err != nil {
		t.Errorf("shut down: %v", err)
	}
}

func TestConnectionCloseMovesTheClient(t *testing.T) {
	var remotes sync.Map
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remotes.Store(r.RemoteAddr, true)
		w.Header().Set("Connection", "close")
		io.WriteString(w, "bye")
	}), nil)
	c := s.client(nil)
	for range 5 {
		resp, err := c.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "bye" || err != nil || resp.Header.Get("Connection") != "" {
			t.Fatalf("%q %v %v", b, err, resp.Header)
		}
		until(t, func() bool { // the client has read the GOAWAY
			c.CloseIdleConnections()
			return true
		})
	}
	n := 0
	remotes.Range(func(any, any) bool { n++; return true })
	if n != 5 {
		t.Errorf("5 requests came on %d connections", n)
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	s := serve(t, true, http.HandlerFunc(route), func(srv *http.Server) { srv.IdleTimeout = 50 * time.Millisecond })
	p := dial(t, s)
	p.hello()
	f := p.await(http2.FrameGoAway).(*http2.GoAwayFrame)
	if f.ErrCode != http2.ErrCodeNo {
		t.Errorf("the connection ends with %v", f.ErrCode)
	}
	p.awaitEOF()
}

// until waits for ok, ten seconds at most.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it did not come about in time")
		}
		time.Sleep(time.Millisecond)
	}
}
