package process

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/config"
	"proa.dev/kit/dockerauth"
	"proa.dev/kit/run"
	"proa.dev/kubelet"
	kubeletcri "proa.dev/kubelet/cri"
	"proa.dev/kubelet/csi"
	"proa.dev/kubelet/localvolume"
	"proa.dev/kubelet/plugin"
	"proa.dev/kubelet/resource"
	"proa.dev/kubelet/source"
	"proa.dev/network/cni"
	"proa.dev/network/dns"
	"proa.dev/network/mesh"
	"proa.dev/network/route"
	"proa.dev/network/service"
	"proa.dev/runtime/cri"
	"proa.dev/runtime/image"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/registry"
)

// nodeDeps is what a node needs of the rest of the cluster.
type nodeDeps struct {
	config *config.Config
	client client.Client // as system:node:<name>
	// follower follows what the view does not carry; nil: it carries everything.
	follower source.Follower
	view     client.View
	address  netip.Addr // of this machine
	serve    kubelet.ServeConfig
	log      *slog.Logger
}

// node is the parts of one node: network, runtime, kubelet, proxy, DNS.
type node struct {
	deps      nodeDeps
	routes    *route.Routes
	plugin    *cni.Plugin
	tidied    chan struct{}    // see sandboxNetwork
	images    *image.Store     // nil with another runtime
	runtime   *cri.Runtime     // likewise
	conn      *kubeletcri.Conn // nil with proa's own runtime
	foreign   foreignRuntime   // over conn
	events    *record.Recorder
	plugins   *plugin.Watcher // drivers of others beside the kubelet
	drivers   *csi.Drivers
	local     *localvolume.Driver // nil where it is switched off
	resources *resource.Manager   // devices and what else is given to single pods
	kubelet   *kubelet.Kubelet
	proxy     *service.Proxy
	dns       *dns.Server
	names     *dns.Hold  // answers for dns while this process is dead
	mesh      *mesh.Mesh // routes to the pods of other nodes
}

// newNode builds the parts in the order that they need each other. The unreachable routes come first, so that nothing meant for the
// cluster's ranges ever leaves the machine.
func newNode(d nodeDeps) (n *node, err error) {
	n = &node{deps: d, tidied: make(chan struct{})}
	for _, build := range []func() error{n.buildNetwork, n.buildRuntime, n.buildServices, n.buildKubelet} {
		if err := build(); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	return n, nil
}

func (n *node) close() error {
	if n.dns != nil {
		n.dns.Close()
	}
	if n.names != nil {
		n.names.Close()
	}
	if n.proxy != nil {
		n.proxy.Close()
	}
	if n.plugin != nil {
		n.plugin.Close()
	}
	if n.mesh != nil {
		n.mesh.Close()
	}
	if n.routes != nil {
		n.routes.Close()
	}
	if n.conn != nil {
		return n.conn.Close()
	}
	return nil
}

func (n *node) buildNetwork() (err error) {
	if n.routes, err = newRoutes(n.deps.config); err != nil {
		return err
	}
	if err := n.routes.Set(context.Background()); err != nil {
		return err
	}
	if n.plugin, err = newPlugin(n.deps.config, n.deps.log); err != nil {
		return err
	}
	n.mesh, err = mesh.New(mesh.Deps{View: n.deps.view, NodeName: n.deps.config.Node, Pods: n.deps.config.Network.Pods, Log: n.deps.log})
	return err
}

func newRoutes(c *config.Config) (*route.Routes, error) {
	return route.New(route.Config{
		Pods: c.Network.Pods, Services: c.Network.Services, PodsKey: "network.pods", ServicesKey: "network.services",
		OwnLinks: []string{c.Network.Bridge}, Others: c.Network.UseCNI || c.Runtime.Endpoint != "",
	})
}

func newPlugin(c *config.Config, log *slog.Logger) (*cni.Plugin, error) {
	return cni.New(cniConfig(c, log))
}

func cniConfig(c *config.Config, log *slog.Logger) cni.Config {
	cfg := cni.Config{
		Bridge: c.Network.Bridge, PodCIDRs: nodeRanges(c), ClusterCIDRs: c.Network.Pods, ServiceCIDRs: c.Network.Services,
		StateDir: filepath.Join(c.RunDir, "cni"), BinDirs: c.Network.CNIBin, Log: log,
	}
	if c.Network.UseCNI {
		cfg.ConfDir = c.Network.CNIConf
	}
	return cfg
}

func (n *node) buildRuntime() (err error) {
	c := n.deps.config
	if c.Runtime.Endpoint != "" {
		if n.conn, err = dialForeign(context.Background(), c); err != nil || c.Network.UseCNI {
			return err
		}
		return configureForeign(c, nodeRanges(c))
	}
	if n.images, err = openImages(c, n.deps.log); err != nil {
		return err
	}
	n.runtime, err = newRuntime(c, n.images, sandboxNetwork{n.plugin, n.tidied}, n.deps.log)
	return err
}

func openImages(c *config.Config, log *slog.Logger) (*image.Store, error) {
	hosts := map[string]registry.Host{}
	for name, r := range c.Runtime.Registries {
		host := registry.Host{Mirrors: r.Mirrors, PlainHTTP: r.HTTP, SkipVerify: r.Insecure}
		if r.Username != "" {
			host.Auth = &registry.Auth{Username: r.Username, Password: r.Password}
		}
		if r.CA != "" {
			pem, err := os.ReadFile(r.CA)
			if err != nil {
				return nil, fmt.Errorf("runtime.registries.%s.ca: %w", name, err)
			}
			host.CA = pem
		}
		if r.Cert != "" {
			pair, err := tls.LoadX509KeyPair(r.Cert, r.Key)
			if err != nil {
				return nil, fmt.Errorf("runtime.registries.%s.cert: %w", name, err)
			}
			host.Cert = &pair
		}
		hosts[name] = host
	}
	return image.Open(image.Config{Root: filepath.Join(c.DataDir, "images"), Log: log, Registry: registry.Config{Hosts: hosts}})
}

func newRuntime(c *config.Config, images *image.Store, net sandboxNetwork, log *slog.Logger) (*cri.Runtime, error) {
	return cri.New(cri.Deps{
		Root: filepath.Join(c.DataDir, "runtime"), Run: c.RunDir, CgroupParent: c.CgroupParent, Images: images, Network: net,
		OCIRuntime: c.Runtime.OCI, Handlers: c.Runtime.Handlers, Log: log,
	})
}

func (n *node) buildServices() (err error) {
	c := n.deps.config
	if c.Enabled("dns") {
		if n.names, err = dns.TakeFromStandby(standbyDir(c)); err != nil {
			return err
		}
		local, err := dns.Address(c.Network.Bridge, c.Network.DNS)
		if err != nil {
			return err
		}
		defer local.Close()
		if err := local.Set(); err != nil {
			return err
		}
		n.dns, err = dns.New(dns.Deps{
			View: n.deps.view, Domain: c.Network.Domain, Listen: []netip.AddrPort{netip.AddrPortFrom(c.Network.DNS, 53)},
			Upstreams: n.upstreams(), Log: n.deps.log,
		})
		if err != nil {
			return err
		}
	}
	if c.Enabled("proxy") {
		n.proxy, err = service.New(service.Deps{
			View: n.deps.view, NodeName: c.Node, PodCIDRs: c.Network.Pods, ServiceCIDRs: c.Network.Services, Link: c.Network.Bridge,
			Own: []netip.Addr{c.Network.DNS}, Log: n.deps.log,
		})
	}
	return err
}

func (n *node) upstreams() func() []netip.AddrPort {
	if set := n.deps.config.Network.Upstreams; len(set) > 0 {
		return func() []netip.AddrPort { return set }
	}
	return dns.HostUpstreams("/etc/resolv.conf")
}

func (n *node) buildKubelet() (err error) {
	c := n.deps.config
	groups, err := openGroups()
	if err != nil {
		return err
	}
	config, err := n.kubeletConfig()
	if err != nil {
		return err
	}
	n.events = record.New(n.deps.client, "kubelet", c.Node)
	deps := kubelet.Deps{
		Client: n.deps.client, View: n.deps.view, Follower: n.deps.follower, Events: n.events, Serve: n.deps.serve, Groups: groups, Log: n.deps.log,
		Node: *config,
	}
	if deps.Credentials, err = n.credentials(); err != nil {
		return err
	}
	if n.conn != nil {
		n.foreign = foreignRuntime{n.conn, c, groups, newMaking()}
		deps.Runtime, deps.Images = n.foreign, foreignPins{n.conn.Images(), n.conn}
	} else {
		deps.Runtime, deps.Images = n.runtime, cri.NewImages(n.images)
	}
	deps.Serve.Pages = map[string]http.Handler{}
	addInspection(deps.Serve.Pages, "kubelet", c, "/configz", "/healthz", "/metrics", "/pods", "/stats/summary")
	n.plugins = plugin.New(filepath.Join(c.KubeletDir, "plugins_registry"), n.deps.log)
	if n.drivers, err = newDrivers(n.deps, n.plugins); err != nil {
		return err
	}
	deps.Drivers = n.drivers
	if n.local, err = newLocalVolumes(n.deps, n.drivers); err != nil {
		return err
	}
	if n.resources, err = n.newResources(config.Reserved); err != nil {
		return err
	}
	deps.Resources = n.resources
	n.kubelet, err = kubelet.New(deps)
	return err
}

func splitPort(listen string) (host string, port int, err error) {
	at, err := netip.ParseAddrPort(listen)
	return at.Addr().String(), int(at.Port()), err
}

// components is the list of everything that runs on a node.
func (n *node) components() []run.Component {
	parts := []run.Component{
		{Name: "events of the kubelet", Run: n.events.Run},
		{Name: "kubelet", Run: n.kubelet.Run},
		{Name: "CSI drivers", Run: n.drivers.Run},
		{Name: "plugins", Run: n.plugins.Run},
		{Name: "resources of single pods", Run: n.resources.Run},
		{Name: "routes to other nodes", Run: n.mesh.Run},
	}
	if n.local != nil {
		parts = append(parts, run.Component{Name: "local volumes", Run: n.local.Run})
	}
	if n.runtime != nil {
		parts = append(parts, n.runtimeParts()...)
	} else {
		parts = append(parts, run.Component{Name: "cgroups of pods that are gone", Run: n.runSweeps})
	}
	if n.proxy != nil {
		parts = append(parts, run.Component{Name: "service proxy", Run: n.proxy.Run})
	}
	if n.dns != nil {
		parts = append(parts, run.Component{Name: "DNS", Run: n.dns.Run}, run.Component{Name: "standby of DNS", Run: n.keepStandby})
	}
	return parts
}

func standbyDir(c *config.Config) string { return filepath.Join(c.RunDir, "dns") }

// keepStandby starts the standby from a keeper binary of its own: the runtime's is not there with another runtime.
func (n *node) keepStandby(ctx context.Context) error {
	binary, err := keeper.OpenBinary("")
	if err != nil {
		return err
	}
	defer binary.Close()
	return n.dns.KeepStandby(ctx, n.names, binary.Path())
}

// tidyNetwork takes back addresses and links of sandboxes that are no more, and at the end waits for what is being taken back.
func (n *node) tidyNetwork(ctx context.Context) error {
	list, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	var live []string
	for _, s := range list.Items {
		live = append(live, s.Id)
	}
	if err := n.plugin.Reconcile(ctx, live); err != nil {
		return err
	}
	close(n.tidied)
	<-ctx.Done()
	return n.plugin.Flush(context.WithoutCancel(ctx))
}

// keptImages is what the image commands talk to.
func (n *node) keptImages() Images {
	if n.images == nil {
		return foreignImages{n.deps.config.Runtime.Endpoint}
	}
	return nodeImages{n.images}
}

// nodeImages is the image commands of a node with proa's own runtime.
type nodeImages struct{ store *image.Store }

func (i nodeImages) Import(ctx context.Context, r io.Reader) ([]string, error) {
	return i.store.Import(ctx, r)
}

func (i nodeImages) Export(ctx context.Context, w io.Writer, refs ...string) error {
	return i.store.Export(ctx, w, refs...)
}

func (i nodeImages) Pull(ctx context.Context, ref string, auth *dockerauth.Entry, tell func(done, total int64)) (string, error) {
	return i.store.Pull(ctx, ref, registryAuth(auth), func(p image.Progress) { tell(p.Done, p.Total) })
}

func (i nodeImages) Push(ctx context.Context, ref string, auth *dockerauth.Entry, tell func(done, total int64)) error {
	return i.store.Push(ctx, ref, registryAuth(auth), func(p image.Progress) { tell(p.Done, p.Total) })
}

func registryAuth(e *dockerauth.Entry) *registry.Auth {
	if e == nil {
		return nil
	}
	return &registry.Auth{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
}

func (i nodeImages) Tag(ref, name string) error { return i.store.Tag(ref, name) }

func (i nodeImages) Remove(ctx context.Context, name string) error {
	return i.store.RemoveName(ctx, name)
}

func (i nodeImages) Names(context.Context) (list []ImageInfo, err error) {
	for _, img := range i.store.List() {
		names := img.Tags
		if len(names) == 0 {
			names = append(names, img.Digests...)
		}
		for _, name := range names {
			list = append(list, ImageInfo{name, img.ID, img.Size})
		}
	}
	return list, nil
}
