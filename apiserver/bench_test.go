package apiserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/pki"
)

// Run these with PROA_VERIFY=0: verification of frozen objects costs more than the requests.

// secured starts a server as it ships (TLS, client certificates, RBAC) and makes clients of it, each with its own connection.
func secured(b *testing.B) (s *apitest.Server, connect func() *http.Client) {
	b.Helper()
	cluster, err := pki.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	serverPair := pair(b)(cluster.Server([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}))
	clientPair := pair(b)(cluster.Client("bench", []string{authn.Masters}))
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	s = apitest.Start(b, func(d *apiserver.Deps) {
		d.TLS = &tls.Config{Certificates: []tls.Certificate{serverPair}, ClientCAs: cluster.CAPool(), ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}}
		d.Authn = func(client.View) (authn.Authenticator, error) {
			return authn.Chain{authn.NewCert(cluster.CAPool())}, nil
		}
		d.Authz = func(v client.View) (authz.Authorizer, error) {
			z := authz.NewRBAC(v)
			go func() { _ = z.Run(ctx) }()
			return z, nil
		}
	})
	s.URL = "https" + strings.TrimPrefix(s.URL, "http")
	return s, func() *http.Client {
		return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, DisableCompression: false,
			TLSClientConfig: &tls.Config{RootCAs: cluster.CAPool(), Certificates: []tls.Certificate{clientPair}}}}
	}
}

func pair(b *testing.B) func(cert, key []byte, err error) tls.Certificate {
	return func(cert, key []byte, err error) tls.Certificate {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		p, err := tls.X509KeyPair(cert, key)
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
}

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func send(ctx context.Context, c *http.Client, method, url, kind string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Accept", kind)
	}
	res, err := c.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d %s", method, url, res.StatusCode, data)
	}
	return err
}

// workers runs op b.N times from n goroutines and reports processor time per operation, of server and client together.
func workers(b *testing.B, n int, op func(i int64) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	before := cpu(b)
	b.ResetTimer()
	for range n {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := op(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu(b)-before)/1e6/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func configMap(name string, value string) []byte {
	return fmt.Appendf(nil, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":%q},"data":{"k":%q}}`, name, value)
}

func BenchmarkHTTPS(b *testing.B) {
	s, connect := secured(b)
	c := connect()
	const path = "/api/v1/namespaces/default/configmaps"
	value := strings.Repeat("x", 1024)
	run := atomic.Int64{}
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("create/%d", n), func(b *testing.B) {
			r := run.Add(1)
			workers(b, n, func(i int64) error {
				return send(b.Context(), c, "POST", s.URL+path, "application/json", configMap(fmt.Sprintf("c-%d-%d", r, i), value))
			})
		})
	}
	if err := send(b.Context(), c, "POST", s.URL+path, "application/json", configMap("get", value)); err != nil {
		b.Fatal(err)
	}
	b.Run("get/64", func(b *testing.B) {
		workers(b, 64, func(int64) error { return send(b.Context(), c, "GET", s.URL+path+"/get", "", nil) })
	})
	for i := range 64 {
		if err := send(b.Context(), c, "POST", s.URL+path, "application/json", configMap(fmt.Sprintf("u-%d", i), value)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("update/64", func(b *testing.B) {
		workers(b, 64, func(i int64) error {
			return send(b.Context(), c, "PUT", s.URL+path+fmt.Sprintf("/u-%d", i%64), "application/json", configMap(fmt.Sprintf("u-%d", i%64), fmt.Sprint(value, i)))
		})
	})
}

func BenchmarkList10000(b *testing.B) {
	s, connect := secured(b)
	c := connect()
	value := strings.Repeat("x", 1024)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := w; i < 10000; i += 32 {
				o := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("l-%05d", i)}, Data: map[string]string{"k": value}}
				if _, err := client.Create(b.Context(), s.Client, o); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, kind := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		b.Run(kind[strings.LastIndexAny(kind, ".")+1:], func(b *testing.B) {
			workers(b, 1, func(int64) error { return send(b.Context(), c, "GET", s.URL+"/api/v1/configmaps", kind, nil) })
		})
	}
}

// BenchmarkLocalCreate is a create without a wire.
func BenchmarkLocalCreate(b *testing.B) {
	s := apitest.Start(b)
	value := strings.Repeat("x", 1024)
	workers(b, 16, func(i int64) error {
		o := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("l-%d-%d", b.N, i)}, Data: map[string]string{"k": value}}
		_, err := client.Create(b.Context(), s.Client, o)
		return err
	})
}

// BenchmarkWatchFanOut has 500 watches on one resource, over ten connections; one operation is one update told to all of them.
func BenchmarkWatchFanOut(b *testing.B) {
	s, connect := secured(b)
	const watchers = 500
	c := connect()
	const path = "/api/v1/namespaces/default/configmaps"
	value := strings.Repeat("x", 1024)
	if err := send(b.Context(), c, "POST", s.URL+path, "application/json", configMap("w", value)); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var got, want atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	all := make(chan struct{}, 1)
	conns := make([]*http.Client, 10)
	for i := range conns {
		conns[i] = connect()
	}
	for i := range watchers {
		r, err := http.NewRequestWithContext(ctx, "GET", s.URL+path+"?watch=1", nil)
		if err != nil {
			b.Fatal(err)
		}
		res, err := conns[i%len(conns)].Do(r)
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer res.Body.Close()
			lines := bufio.NewReaderSize(res.Body, 64<<10)
			for {
				if _, err := lines.ReadSlice('\n'); err != nil {
					return
				}
				if got.Add(1) == want.Load() {
					all <- struct{}{}
				}
			}
		})
	}
	want.Store(int64(watchers * (b.N + 1))) // each is told the object first
	before := cpu(b)
	b.ResetTimer()
	for i := range b.N {
		if err := send(ctx, c, "PUT", s.URL+path+"/w", "application/json", configMap("w", fmt.Sprint(value, i))); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-all:
	case <-time.After(time.Minute):
		b.Fatalf("%d of %d events came", got.Load(), want.Load())
	}
	b.StopTimer()
	n := float64(b.N * watchers)
	b.ReportMetric(n/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64(cpu(b)-before)/1e3/n, "cpu-us/delivery")
}
