package process

import (
	"crypto/tls"
	"log/slog"
	"net"
	"testing"

	"proa.dev/pki"
)

// A client that has several certificates learns which authorities are known.
func TestServerTellsItsAuthorities(t *testing.T) {
	cluster, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := cluster.Rotating("", pki.Leaf{Name: "api", DNS: []string{"localhost"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{cluster: cluster, cert: cert}
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- tls.Server(there, s.serverTLS()).Handshake() }()
	told := 0
	client := tls.Client(here, &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		told = len(r.AcceptableCAs)
		return &tls.Certificate{}, nil
	}})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if told != 2 {
		t.Errorf("the client was told of %d authorities, want that of the cluster and that of front proxies", told)
	}
}
