package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestOpenTwiceIsTheSameCluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.CAPEM(), b.CAPEM()) || !bytes.Equal(a.FrontProxyCAPEM(), b.FrontProxyCAPEM()) ||
		!samePublic(a.ServiceAccountSigner().Public(), b.ServiceAccountSigner().Public()) || a.Fingerprint() != b.Fingerprint() {
		t.Error("the second Open found other keys")
	}
	if bytes.Equal(a.CAPEM(), a.FrontProxyCAPEM()) {
		t.Error("one authority for both purposes")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 5 {
		t.Errorf("%d files, %v, want 5", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", info.Mode())
	}
}

func TestManyOpenAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	names := make(chan string, 8)
	for range cap(names) {
		go func() {
			c, err := Open(dir)
			if err != nil {
				names <- err.Error()
				return
			}
			names <- c.Fingerprint()
		}()
	}
	first := <-names
	for range cap(names) - 1 {
		if got := <-names; got != first {
			t.Errorf("one opened %s, another %s", first, got)
		}
	}
}

func TestALostKeyIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a new key was made for the old certificate")
	}
	if !missing(filepath.Join(dir, "ca.key")) {
		t.Error("a new key was written")
	}
}

func TestDamagedKeysAreNotReplaced(t *testing.T) {
	for _, name := range []string{"ca.key", "ca.crt", "sa.key"} {
		dir := t.TempDir()
		if _, err := Open(dir); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !bytes.Contains([]byte(err.Error()), []byte(path)) {
			t.Errorf("damaged %s: %v, want an error that names it", name, err)
		}
		if data, _ := os.ReadFile(path); string(data) != "garbage" {
			t.Errorf("%s was replaced", name)
		}
	}
}

func TestAuthorityIsRenewedWithItsKey(t *testing.T) {
	dir := t.TempDir()
	old, err := open(dir, time.Now().Add(-12*365*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	now, err := Open(dir) // after a sleep of twelve years
	if err != nil {
		t.Fatal(err)
	}
	if old.Fingerprint() != now.Fingerprint() || !now.ca.cert.NotAfter.After(time.Now().Add(9*365*24*time.Hour)) {
		t.Errorf("the authority ends %s and has the key %s, before %s", now.ca.cert.NotAfter, now.Fingerprint(), old.Fingerprint())
	}
	cert, _, err := old.Client("bob", nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := parseCert(cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.CheckSignatureFrom(now.ca.cert); err != nil {
		t.Errorf("a leaf of the old certificate: %v", err)
	}
}

// TestMutualTLS connects a client and a server with rotating leaves, renews both and connects again.
func TestMutualTLS(t *testing.T) {
	c, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server, err := c.Rotating("", Leaf{Name: "api", DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Rotating("", Leaf{Name: "bob", Groups: []string{"dev", "ops"}, Client: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		names := handshake(t, c, server, client)
		if names[0] != "bob" || len(names) != 3 {
			t.Errorf("the server saw %q", names)
		}
		if err := server.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := client.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func handshake(t *testing.T, c *Cluster, server, client *Rotating) []string {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	srv := tls.Server(a, &tls.Config{GetCertificate: server.GetCertificate, ClientCAs: c.CAPool(), ClientAuth: tls.RequireAndVerifyClientCert})
	cli := tls.Client(b, &tls.Config{GetClientCertificate: client.GetClientCertificate, RootCAs: c.CAPool(), ServerName: "127.0.0.1"})
	done := make(chan error, 1)
	go func() { done <- srv.HandshakeContext(t.Context()) }()
	if err := cli.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	peer := srv.ConnectionState().PeerCertificates[0]
	return append([]string{peer.Subject.CommonName}, peer.Subject.Organization...)
}

func TestRotatingReissuesWhatDoesNotFit(t *testing.T) {
	c, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	path := filepath.Join(t.TempDir(), "leaf.pem")
	leaf := Leaf{Name: "api", DNS: []string{"a"}}
	get := func(c *Cluster, l Leaf) string {
		t.Helper()
		r, err := c.Rotating(path, l, log)
		if err != nil {
			t.Fatal(err)
		}
		return r.Leaf().SerialNumber.String()
	}
	first := get(c, leaf)
	if get(c, leaf) != first {
		t.Error("a good stored leaf was replaced")
	}
	leaf.DNS = append(leaf.DNS, "b")
	second := get(c, leaf)
	if second == first {
		t.Error("a leaf without the new name was kept")
	}
	cert, key, err := c.ca.issue(leaf, time.Now().Add(-3*leafLife))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(cert, key...), 0o600); err != nil {
		t.Fatal(err)
	}
	third := get(c, leaf)
	other, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if get(other, leaf) == third {
		t.Error("a leaf of another cluster was kept")
	}
}

func TestRunRenewsAtTwoThirds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Rotating("", Leaf{Name: "x", Client: true, Life: 29 * time.Hour}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		first := r.Leaf().SerialNumber
		time.Sleep(18 * time.Hour) // due at 19: two thirds of 30 hours, one of which lies in the past
		synctest.Wait()
		if r.Leaf().SerialNumber.Cmp(first) != 0 {
			t.Error("renewed too early")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if r.Leaf().SerialNumber.Cmp(first) == 0 {
			t.Error("not renewed at two thirds of its life")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func FuzzParse(f *testing.F) {
	c, err := Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	cert, key, err := c.Client("bob", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cert)
	f.Add(key)
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := parseKey(data); err == nil && k.Public() == nil {
			t.Error("a key without a public part")
		}
		if leaf, err := parseCert(data); err == nil && leaf.Raw == nil {
			t.Error("no certificate and no error")
		}
	})
}
