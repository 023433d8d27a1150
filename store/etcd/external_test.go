package etcd

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"proa.dev/pki"
	"proa.dev/store"
	"proa.dev/store/storetest"
)

// startEtcd runs etcd's own gRPC services with TLS on loopback, for clients with a certificate.
func startEtcd(t testing.TB) ExternalConfig {
	t.Helper()
	keys := t.TempDir()
	ca, err := pki.Open(filepath.Join(keys, "pki"))
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, data []byte) string {
		path := filepath.Join(keys, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key, err := ca.Server(nil, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	caFile := file("ca.crt", ca.CAPEM())
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	member, _ := start(t, Config{Dir: t.TempDir()})
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(16<<20), grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: ca.CAPool(), ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	pb.RegisterKVServer(srv, v3rpc.NewQuotaKVServer(member.srv))
	pb.RegisterWatchServer(srv, v3rpc.NewWatchServer(member.srv))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	if cert, key, err = ca.Client("proa", nil); err != nil {
		t.Fatal(err)
	}
	return ExternalConfig{Endpoints: []string{"https://" + l.Addr().String()}, CAFile: caFile, CertFile: file("c.crt", cert), KeyFile: file("c.key", key)}
}

func dial(t testing.TB, cfg ExternalConfig) *External {
	t.Helper()
	x, err := Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return x
}

func TestExternal(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return dial(t, startEtcd(t)) })
}

func TestExternalWantsACertificate(t *testing.T) {
	cfg := startEtcd(t)
	cfg.CertFile, cfg.KeyFile = "", ""
	x, err := Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := x.Get(ctx, "/a"); err == nil || !strings.Contains(err.Error(), cfg.Endpoints[0]) {
		t.Errorf("got %v, want an error that names %s", err, cfg.Endpoints[0])
	}
	cancel()
	if err := x.Run(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}
