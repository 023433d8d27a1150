package process

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/apiserver/aggregate"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/rest"
	"proa.dev/apiserver/stream"
	"proa.dev/client"
	"proa.dev/kubelet"
	"proa.dev/pki"
)

// buildNode makes this machine a node of its own cluster.
func (s *server) buildNode() (err error) {
	if !s.config.Enabled("kubelet") {
		return nil
	}
	listener, err := listen(s.config.Kubelet.Listen, "kubelet.listen")
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return stillOpen(listener.Close()) })
	if s.nodeCert, err = s.cluster.Rotating(filepath.Join(pkiDir(s.config), "kubelet.pem"), nodeLeaf(s.config.Node, s.address), s.log); err != nil {
		return err
	}
	user := authn.User{Name: "system:node:" + s.config.Node, Groups: []string{authn.NodesGroup, authn.AgentsGroup, authn.Authenticated}}
	s.node, err = newNode(nodeDeps{
		config: s.config, client: s.api.Local(user), view: s.api.View(), address: s.address, log: s.log,
		serve: kubelet.ServeConfig{Listener: listener, CAs: s.cluster.CAPool, TLS: &tls.Config{
			MinVersion: tls.VersionTLS12, GetCertificate: s.nodeCert.GetCertificate,
		}},
	})
	if err == nil {
		s.closers = append(s.closers, s.node.close)
	}
	return err
}

// images is what the image commands talk to; nil where no node runs.
func (s *server) images() Images {
	if s.node == nil {
		return nil
	}
	return s.node.keptImages()
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

// aggregator is the way to extension API servers, with the certificate by which they know this one.
func (s *server) aggregator() (_ *aggregate.Aggregator, err error) {
	leaf := pki.Leaf{Name: "front-proxy-client", Client: true}
	if s.frontProxy, err = s.cluster.RotatingFrontProxy(leaf, s.log); err != nil {
		return nil, err
	}
	return aggregate.New(aggregate.Config{Certificate: s.frontProxy.GetClientCertificate, Log: s.log}), nil
}

// fill makes the streams.
func (c *connector) fill(s *server) error {
	c.next = stream.New(stream.Deps{View: s.api.View(), Log: s.log, Kubelet: s.kubelet})
	return nil
}

// dialKubelets makes the certificate by which kubelets know the API server.
func (s *server) dialKubelets() (err error) {
	leaf := pki.Leaf{Name: "kube-apiserver-kubelet-client", Groups: []string{authn.Masters}, Client: true}
	if s.toKubelets, err = s.cluster.Rotating("", leaf, s.log); err != nil {
		return err
	}
	s.kubelets = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.cluster.CAPool(), GetClientCertificate: s.toKubelets.GetClientCertificate}}
	return nil
}

// kubelet is where a node's own API is, and how to speak to it.
func (s *server) kubelet(n *core.Node) (string, http.RoundTripper, error) {
	for _, a := range n.Status.Addresses {
		if a.Type == core.NodeInternalIP && a.Address != "" {
			return "https://" + net.JoinHostPort(a.Address, strconv.Itoa(int(n.Status.DaemonEndpoints.KubeletEndpoint.Port))), s.kubelets, nil
		}
	}
	return "", nil, fmt.Errorf("node %s has told no address yet", n.Name)
}

// serverTLS is the API's side of TLS: client certificates are asked for and checked against the cluster's authority, but not required.
func (s *server) serverTLS() *tls.Config {
	known := s.cluster.CAPool()
	known.AppendCertsFromPEM(s.cluster.FrontProxyCAPEM())
	return &tls.Config{
		ClientCAs:  known, // what is told to clients that have several certificates
		MinVersion: tls.VersionTLS12, GetCertificate: s.cert.GetCertificate, NextProtos: []string{"h2", "http/1.1"},
		DynamicRecordSizingDisabled: true,                  // every record costs; who waits for the first byte waits for the last of an object
		ClientAuth:                  tls.RequestClientCert, // authn.Cert verifies it, so that a stranger's certificate is a 401 and not a broken handshake
	}
}
