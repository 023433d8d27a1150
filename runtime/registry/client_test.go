package registry

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"proa.dev/runtime/reference"
)

// TestClientCertificate: a registry that wants to see a certificate gets the one that is configured for it.
func TestClientCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	head := func(h Host) error {
		c, err := New(Config{Hosts: map[string]Host{host: h}, Attempts: 1, Pause: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ref, err := reference.Parse(host + "/app:1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Repository(ref, nil).Head(t.Context())
		return err
	}
	var answer *Error
	if err := head(Host{CA: ca}); err == nil || errors.As(err, &answer) {
		t.Errorf("without a certificate: %v", err)
	}
	if err := head(Host{CA: ca, Cert: &server.TLS.Certificates[0]}); !errors.As(err, &answer) || answer.Status != http.StatusNotFound {
		t.Errorf("with a certificate: %v", err)
	}
}
