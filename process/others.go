package process

import (
	"crypto/tls"
	"fmt"
	"net/netip"

	"proa.dev/apiserver/authn"
	"proa.dev/client/joined"
	"proa.dev/client/remote"
	"proa.dev/control"
	"proa.dev/control/autoscale"
	"proa.dev/pki"
)

// joinOthers makes the View of controllers that walk all resources: those of extension API servers, too.
func (s *server) joinOthers() {
	s.everything = joined.New(joined.Config{View: s.api.View(), Others: s.others, Connect: s.loopback, Log: s.log})
}

// everywhere is d for a controller that walks all resources.
func (s *server) everywhere(d control.Deps) control.Deps {
	d.View, d.Client = s.everything, s.everything.Client(d.Client)
	return d
}

// loopback is our own API as others see it: requests about resources of extension API servers take the usual way through it. The
// certificate is made for each connection.
func (s *server) loopback() (*remote.Client, error) {
	at, err := netip.ParseAddrPort(s.config.API.Listen)
	if err != nil {
		return nil, err
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
	}
	leaf := pki.Leaf{Name: "system:kube-controller-manager", Groups: []string{authn.Masters}, Client: true}
	return remote.New(remote.Config{Host: "https://" + at.String(), UserAgent: "proa controllers", TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: s.cluster.CAPool(), ServerName: "kubernetes.default.svc",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, key, err := s.cluster.Issue(leaf)
			if err != nil {
				return nil, fmt.Errorf("issue the certificate of controllers: %w", err)
			}
			pair, err := tls.X509KeyPair(cert, key)
			return &pair, err
		},
	}})
}

// measuring is d for the controller that scales by metrics, and who knows them: this server what pods use, unless that is left to
// others, and extension API servers the rest.
func (s *server) measuring(d control.Deps) (control.Deps, autoscale.Metrics, error) {
	far, err := s.loopback()
	if err != nil {
		return d, nil, err
	}
	m := autoscale.API{View: d.View, Used: d.Client, Raw: far.Raw}
	if !s.config.Enabled("metrics") {
		m.Used = far
	}
	return s.everywhere(d), m, nil
}
