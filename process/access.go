package process

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"

	"proa.dev/apiserver/authn"
	"proa.dev/config"
	"proa.dev/kit/dump"
	"proa.dev/pki"
)

// Access is how an administrator reaches the API. All but Server is PEM.
type Access struct {
	Server        string // https://host:port
	CA, Cert, Key []byte
}

func pkiDir(c *config.Config) string { return filepath.Join(c.DataDir, "pki") }

// AdminAccess makes a certificate for the administrator of the cluster whose data is here.
func AdminAccess(c *config.Config) (Access, error) {
	if _, err := os.Stat(pkiDir(c)); errors.Is(err, fs.ErrNotExist) {
		return Access{}, fmt.Errorf("there is no cluster in %s", c.DataDir)
	}
	cluster, err := pki.Open(pkiDir(c))
	if err != nil {
		return Access{}, err
	}
	cert, key, err := cluster.Client("kubernetes-admin", []string{"system:masters"})
	if err != nil {
		return Access{}, fmt.Errorf("make the administrator's certificate: %w", err)
	}
	return Access{"https://" + apiAddress(c), cluster.CAPEM(), cert, key}, nil
}

// NodeAccess makes the certificate of a node that joins the cluster: for the API it is system:node:<name>, and it serves the kubelet's
// API on ip.
func NodeAccess(c *config.Config, name string, ip netip.Addr) (Access, error) {
	access, err := AdminAccess(c)
	if err != nil {
		return Access{}, err
	}
	cluster, err := pki.Open(pkiDir(c))
	if err != nil {
		return Access{}, err
	}
	leaf := nodeLeaf(name, ip)
	leaf.Client = true
	if access.Cert, access.Key, err = cluster.Issue(leaf); err != nil {
		return Access{}, fmt.Errorf("make the certificate of node %s: %w", name, err)
	}
	if c.API.Address == "" { // loopback is of no use elsewhere
		own, err := nodeAddress(c)
		if err != nil {
			return Access{}, err
		}
		access.Server = "https://" + netip.AddrPortFrom(own, netip.MustParseAddrPort(c.API.Listen).Port()).String()
	}
	return access, nil
}

func nodeLeaf(name string, ip netip.Addr) pki.Leaf {
	return pki.Leaf{Name: "system:node:" + name, Groups: []string{authn.NodesGroup, authn.AgentsGroup}, DNS: []string{name}, IPs: []net.IP{ip.AsSlice()}}
}

// apiAddress is what clients are told: the configured address, the one it listens on, or loopback where it listens on all.
func apiAddress(c *config.Config) string {
	if c.API.Address != "" {
		return c.API.Address
	}
	listen := netip.MustParseAddrPort(c.API.Listen) // checked with the configuration
	if !listen.Addr().IsUnspecified() {
		return listen.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(listen.Port())))
}

// nodeAddress is the node's InternalIP: as configured, else the source of the default route, else the first global address.
func nodeAddress(c *config.Config) (netip.Addr, error) {
	if c.Kubelet.Address.IsValid() {
		return c.Kubelet.Address, nil
	}
	routes, err := dump.Whole(func() ([]netlink.Route, error) {
		return netlink.RouteList(nil, netlink.FAMILY_ALL)
	})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find this machine's address: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if a, ok := netip.AddrFromSlice(r.Src); ok {
			return a.Unmap(), nil
		}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			if a, ok := firstAddress(link); ok {
				return a, nil
			}
		}
	}
	links, err := dump.Whole(netlink.LinkList)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find this machine's address: %w", err)
	}
	for _, link := range links {
		if a, ok := firstAddress(link); ok && link.Attrs().Name != c.Network.Bridge {
			return a, nil
		}
	}
	return netip.Addr{}, errors.New("this machine has no address besides loopback: set kubelet.address")
}

func firstAddress(link netlink.Link) (netip.Addr, bool) {
	addrs, err := dump.Whole(func() ([]netlink.Addr, error) {
		return netlink.AddrList(link, netlink.FAMILY_ALL)
	})
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.Unmap().IsGlobalUnicast() {
			return ip.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// serverLeaf is what the API's serving certificate says.
func serverLeaf(c *config.Config, node netip.Addr) pki.Leaf {
	l := pki.Leaf{Name: "kube-apiserver", DNS: []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.Network.Domain, "localhost", c.Node,
	}}
	add := func(name string) {
		if ip := net.ParseIP(name); ip != nil {
			l.IPs = append(l.IPs, ip)
		} else if name != "" {
			l.DNS = append(l.DNS, name)
		}
	}
	for _, name := range append([]string{"127.0.0.1", "::1", node.String()}, c.API.Names...) {
		add(name)
	}
	for _, r := range c.Network.Services {
		add(r.Masked().Addr().Next().String())
	}
	if host, _, err := net.SplitHostPort(c.API.Address); err == nil {
		add(host)
	}
	return l
}
