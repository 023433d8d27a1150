package process

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
)

// buildNode makes this machine a node of its own cluster.
func (s *server) buildNode() (err error) {
	if !s.config.Enabled("kubelet") {
		return nil
	}
	user := authn.User{Name: "system:node:" + s.config.Node, Groups: []string{"system:nodes", authn.Authenticated}}
	s.node, err = newNode(nodeDeps{
		config: s.config, client: s.api.Local(user), view: s.api.View(), address: s.address, log: s.log,
	})
	if err == nil {
		s.closers = append(s.closers, s.node.close)
	}
	return err
}

// images is what the image commands talk to; nil where another runtime keeps the images.
func (s *server) images() Images {
	if s.node == nil || s.node.images == nil {
		return nil
	}
	return nodeImages{s.node.images}
}

// dnsService makes the Service kube-system/kube-dns, by whose address pods find DNS. It has no selector: every node answers itself.
func (s *server) dnsService(ctx context.Context, c client.Client) error {
	if !s.config.Enabled("dns") {
		return nil
	}
	port := func(name string, p core.Protocol) core.ServicePort {
		return core.ServicePort{Name: name, Protocol: p, Port: 53, TargetPort: intstr.FromInt32(53)}
	}
	family := core.IPv4Protocol
	if s.config.Network.DNS.Is6() {
		family = core.IPv6Protocol
	}
	_, err := client.Create(ctx, c, &core.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
		Spec: core.ServiceSpec{
			ClusterIP: s.config.Network.DNS.String(), IPFamilies: []core.IPFamily{family},
			Ports: []core.ServicePort{port("dns", core.ProtocolUDP), port("dns-tcp", core.ProtocolTCP)},
		},
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// connector is the streams of the API server, which need the server's View and so come after it.
type connector struct{ next rest.Connector }

func (c *connector) Connect(w http.ResponseWriter, r *http.Request, t client.Target) {
	c.next.Connect(w, r, t)
}

var _ = netip.Addr{}

// serverTLS is the API's side of TLS: client certificates are asked for and checked against the cluster's authority, but not required.
func (s *server) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: s.cert.GetCertificate, NextProtos: []string{"h2", "http/1.1"},
		ClientAuth: tls.RequestClientCert, // authn.Cert verifies it, so that a stranger's certificate is a 401 and not a broken handshake
	}
}
