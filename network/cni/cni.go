package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
)

// Config says how the pods of a node are connected.
type Config struct {
	// Bridge is the name of the bridge that holds the node's own addresses, at most 15 bytes; "proa0" if empty.
	Bridge string
	// PodCIDRs are this node's ranges of pod addresses, at most one per family. The first usable address is the gateway.
	PodCIDRs []netip.Prefix
	// ClusterCIDRs are the pod ranges of the whole cluster; empty means PodCIDRs. ServiceCIDRs are those of the services. What
	// pods send elsewhere is masqueraded.
	ClusterCIDRs, ServiceCIDRs []netip.Prefix
	// StateDir keeps the leases. It may be lost with a reboot, as the pods are.
	StateDir string
	// MTU of pod interfaces; 0 takes that of the link with the default route, or 1500.
	MTU int

	// ConfDir, if not empty, makes the plugin run the first CNI configuration of that directory instead of the built-in one.
	// BinDirs are where its binaries are; "/opt/cni/bin" if empty. Of the fields above it uses StateDir and Bridge only.
	ConfDir string
	BinDirs []string

	Log *slog.Logger
}

// Pod is what a plugin has to know of a sandbox.
type Pod struct {
	ID                   string // of the sandbox, unique for ever
	Namespace, Name, UID string
	NetNS                string // path of the network namespace; may be empty or gone in Detach
	Ports                []Port
	Annotations          map[string]string
}

// Port is a port of the node that leads to the pod.
type Port struct {
	HostIP        netip.Addr // the zero value, 0.0.0.0 and :: mean every address of the node
	HostPort      uint16
	ContainerPort uint16
	Protocol      string // "TCP" (also ""), "UDP", "SCTP"
}

// Plugin connects pods. All methods are safe for concurrent use.
type Plugin struct {
	form
}

// form is what the built-in plugin and libcni have in common.
type form interface {
	attach(ctx context.Context, p Pod) ([]netip.Addr, error)
	detach(ctx context.Context, p Pod) error
	check(ctx context.Context, p Pod) error
	ready() error
	run(ctx context.Context) error
	reconcile(ctx context.Context, live map[string]bool) error
	flush(ctx context.Context) error
	cleanup(ctx context.Context) error
	leftovers() ([]string, error)
	close()
}

// New makes the plugin. The built-in one prepares the node at once: bridge, forwarding, nftables table. It acts on the network
// namespace of the calling thread and, for the namespaces of pods, on that of the process.
func New(cfg Config) (*Plugin, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if cfg.ConfDir != "" {
		x, err := newExternal(cfg)
		if err != nil {
			return nil, err
		}
		return &Plugin{x}, nil
	}
	b, err := newRouted(cfg)
	if err != nil {
		return nil, err
	}
	return &Plugin{b}, nil
}

// complete fills in the defaults.
func (cfg *Config) complete() error {
	if cfg.StateDir == "" {
		return errors.New("network plugin: no state directory")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Bridge == "" {
		cfg.Bridge = "proa0"
	}
	if len(cfg.ClusterCIDRs) == 0 {
		cfg.ClusterCIDRs = cfg.PodCIDRs
	}
	return nil
}

// open is the plugin without preparing the node: to clean up and to look.
func open(cfg Config) (form, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if cfg.ConfDir != "" {
		return openExternal(cfg)
	}
	return openRouted(cfg)
}

// Cleanup removes everything that a plugin of this configuration made on the node, of pods that still run too: leases, interfaces,
// bridge, nftables tables. The settings of the kernel that it changed are put back. No plugin may be in use.
func Cleanup(ctx context.Context, cfg Config) error {
	f, err := open(cfg)
	if err != nil {
		return err
	}
	defer f.close()
	return f.cleanup(ctx)
}

// Leftovers lists what Cleanup would remove, for people.
func Leftovers(cfg Config) ([]string, error) {
	f, err := open(cfg)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.leftovers()
}

// Attach gives the pod its interface and returns its addresses, those of the first family first. Repeating it for the same
// sandbox gives the same addresses. If it fails, nothing is left but what Detach removes.
func (p *Plugin) Attach(ctx context.Context, pod Pod) ([]netip.Addr, error) {
	if pod.ID == "" || pod.NetNS == "" {
		return nil, fmt.Errorf("attach pod %s/%s: no sandbox id or network namespace", pod.Namespace, pod.Name)
	}
	addrs, err := p.attach(ctx, pod)
	if err != nil {
		return nil, fmt.Errorf("attach pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return addrs, nil
}

// Detach gives the pod's addresses back. A pod that is not attached is no error. The built-in plugin removes the interface, which
// takes 18 ms, in the background: see Flush.
func (p *Plugin) Detach(ctx context.Context, pod Pod) error {
	if err := p.detach(ctx, pod); err != nil {
		return fmt.Errorf("detach pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// Check says whether the pod is still connected as Attach left it.
func (p *Plugin) Check(ctx context.Context, pod Pod) error {
	if err := p.check(ctx, pod); err != nil {
		return fmt.Errorf("check network of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// Ready says why pods cannot be attached now: no CNI configuration is there yet. The built-in plugin is always ready.
func (p *Plugin) Ready() error { return p.ready() }

// Run keeps the node prepared until ctx ends: when somebody deletes the nftables tables (as restarting a firewall service does), it
// makes them again. Attach and Detach work without it.
func (p *Plugin) Run(ctx context.Context) error { return p.run(ctx) }

// Reconcile removes what belongs to sandboxes other than liveIDs: leases, interfaces, host ports. Call it at start, before the
// first Attach.
func (p *Plugin) Reconcile(ctx context.Context, liveIDs []string) error {
	live := make(map[string]bool, len(liveIDs))
	for _, id := range liveIDs {
		live[id] = true
	}
	return p.reconcile(ctx, live)
}

// Flush waits until all that Detach left to the background is done. Call it before the process ends.
func (p *Plugin) Flush(ctx context.Context) error { return p.flush(ctx) }

// Cleanup is the function Cleanup for this plugin, which is of no use afterwards.
func (p *Plugin) Cleanup(ctx context.Context) error { return p.cleanup(ctx) }

// Leftovers lists what Cleanup would remove, for people.
func (p *Plugin) Leftovers() ([]string, error) { return p.leftovers() }

// Close frees what the process holds; pods stay connected.
func (p *Plugin) Close() { p.close() }
