package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/kit/prom"
	"proa.dev/kit/run"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/node"
	"proa.dev/kubelet/pod"
	"proa.dev/kubelet/probe"
	"proa.dev/kubelet/serve"
	"proa.dev/kubelet/source"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
	"proa.dev/kubelet/upkeep"
	"proa.dev/kubelet/volume"
	"proa.dev/object"
)

// Runtime and Images are the seam to the container runtime.
type (
	Runtime = cri.Runtime
	Images  = cri.Images
)

// Resources is what gives devices and the like to pods.
type Resources interface {
	pod.Resources
	node.Devices
	// Bind names who runs the pods.
	Bind(pod.Host)
	Page(*prom.Page)
}

// Deps are what a kubelet needs.
type Deps struct {
	Client  client.Client // as system:node:<name>
	View    client.View
	Runtime Runtime
	Images  Images
	Events  *record.Recorder
	Drivers *volume.Drivers // of CSI; nil: there are none
	Node    NodeConfig
	Serve   ServeConfig
	Log     *slog.Logger
	// Follower follows what pods need and the View does not carry; nil: it is read each time.
	Follower source.Follower
	// Credentials are those of plugins for image registries; nil: none.
	Credentials pod.Credentials
	// Resources may be nil: then nothing of the node is given to single pods. Somebody else runs it.
	Resources Resources
	// Groups writes the cgroups above those of pods; nil: they stay as they are.
	Groups upkeep.Groups
}

// ServeConfig is the node's API. Without a Listener it is not served.
type ServeConfig struct {
	Listener net.Listener            // usually on :10250
	TLS      *tls.Config             // with the node's serving certificate, which may change while running
	CAs      func() *x509.CertPool   // whose client certificates are accepted
	Pages    map[string]http.Handler // more of it, by path
}

// NodeConfig says what node this is. Name and IPs are required; for the rest the zero value is the usual.
type NodeConfig struct {
	Name   string
	IPs    []netip.Addr // of the machine, the first is the one to show
	Labels map[string]string
	Taints []core.Taint // set when the node registers for the first time

	Root          string // default "/var/lib/kubelet"
	PodLogs       string // default "/var/log/pods"
	LogLinks      string // default "/var/log/containers"; "-" is none
	CgroupParent  string // of all pods; default: the root
	ClusterDNS    []string
	ClusterDomain string // default "cluster.local"
	ResolvConf    string // default "/etc/resolv.conf"
	MaxPods       int    // default 110
	Reserved      core.ResourceList
	StaticPods    string // directory of manifests of pods to run whatever the API says; "" is none
	Eviction      upkeep.Eviction
	Shutdown      upkeep.Shutdown
	ImageGC       upkeep.ImageGC
	// Pulls is how images come to the node, MaxBackOff the most that a container waits that ends again and again; default 5m.
	Pulls      pod.Pulls
	MaxBackOff time.Duration
	// NoSystemLogs hides the machine's logs; SystemLogQuery lets them be asked for by the name of a service.
	NoSystemLogs, SystemLogQuery bool
	// ReadFiles has ConfigMaps and Secrets that the View does not carry read each time, and not followed.
	ReadFiles bool
	// Settings are fields of a KubeletConfiguration as the user set them, to be shown.
	Settings map[string]any
	// FailSwapOn does not start on a machine that swaps. LimitedSwap lets containers of burstable pods swap.
	FailSwapOn, LimitedSwap bool
	// SingleOOMKill ends one process of a container that runs out of memory, not all; nil: false with control groups of v2, which alone
	// can end all.
	SingleOOMKill *bool
	// AllowedSysctls are those that pods may set beside the safe ones.
	AllowedSysctls pod.Sysctls
	Limits         spec.Limits
	Logs           upkeep.Logs
	ProviderID     string
	// SeccompUnconfined leaves containers that ask for no profile without one.
	SeccompUnconfined bool
	Version           string // shown as kubeletVersion; default "v1.37.2"
	Port              int32  // of the node's API; default 10250
}

func (c *NodeConfig) defaults() {
	def := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	def(&c.Root, "/var/lib/kubelet")
	def(&c.PodLogs, "/var/log/pods")
	def(&c.LogLinks, "/var/log/containers")
	def(&c.ClusterDomain, "cluster.local")
	def(&c.ResolvConf, "/etc/resolv.conf")
	def(&c.Version, "v1.37.2")
	if c.LogLinks == "-" {
		c.LogLinks = ""
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.Port == 0 {
		c.Port = 10250
	}
}

// Kubelet is the node agent.
type Kubelet struct {
	deps    Deps
	spec    *spec.Node
	machine node.Machine
	node    *node.Node
	probes  *probe.Prober
	status  *status.Writer
	volumes *volume.Volumes
	objects *source.Objects
	events  pod.Recorder
	upkeep  *upkeep.Upkeep
	calls   cri.Calls
	relists relists
	pods    *pod.Workers // made by Run, once the runtime has said its name
}

// New makes a kubelet and starts nothing. It looks at the machine and makes the root directory.
func New(d Deps) (*Kubelet, error) {
	d.Node.defaults()
	if d.Node.Name == "" || len(d.Node.IPs) == 0 {
		return nil, errors.New("kubelet: a node needs a name and an address")
	}
	if err := os.MkdirAll(d.Node.Root, 0o755); err != nil {
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	k := &Kubelet{events: recorder(d.Events)}
	d.Runtime, d.Images = k.calls.Runtime(d.Runtime), k.calls.Images(d.Images)
	k.deps = d
	var err error
	if k.machine, err = node.Look(d.Node.Root, d.Node.MaxPods); err != nil {
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	if err := k.machine.Suits(d.Node.FailSwapOn, d.Node.SingleOOMKill); err != nil {
		return nil, err
	}
	k.spec = &spec.Node{
		Name: d.Node.Name, IPs: d.Node.IPs, Root: d.Node.Root, PodLogs: d.Node.PodLogs, CgroupParent: d.Node.CgroupParent,
		ClusterDNS: d.Node.ClusterDNS, ClusterDomain: d.Node.ClusterDomain, ResolvConf: d.Node.ResolvConf, HostsFile: "/etc/hosts",
		SeccompUnconfined: d.Node.SeccompUnconfined, Memory: k.machine.Memory, Limits: d.Node.Limits,
		AppArmor: k.machine.AppArmor, CgroupV2: k.machine.CgroupV2, HugePages: k.machine.HugeSizes(),
		Swap: k.machine.Swap, LimitedSwap: d.Node.LimitedSwap, SingleOOMKill: d.Node.SingleOOMKill != nil && *d.Node.SingleOOMKill,
	}
	k.upkeep, err = upkeep.New(upkeep.Deps{
		Runtime: d.Runtime, Images: d.Images, Spec: k.spec, Eviction: d.Node.Eviction, Shutdown: d.Node.Shutdown, ImageGC: d.Node.ImageGC, Logs: d.Node.Logs, Changed: func() { k.node.Kick() },
		Node: func() *core.Node {
			n, _ := client.Lookup[core.Node](d.View, object.Key{Name: d.Node.Name})
			return n
		},
		Volume: func(p *core.Pod, v *core.Volume) (string, bool) { return k.volumes.Counted(p, v) }, Events: k.events, Log: d.Log,
		Fill:   func(p *core.Pod, v *core.Volume) *statsapi.FsStats { return k.volumes.Fill(p, v) },
		Groups: d.Groups, Capacity: k.machine.Capacity(), Reserved: d.Node.Reserved,
	})
	if err != nil {
		return nil, err
	}
	k.machine.Kept = k.upkeep.Kept(k.machine.Memory, k.machine.Disk)
	k.spec.Allocatable = k.machine.Allocatable(d.Node.Reserved)
	k.objects = source.NewObjects(d.View, d.Client, source.Config{Follower: d.Follower, Node: d.Node.Name, ReadFiles: d.Node.ReadFiles})
	k.status = status.New(d.Client, d.View, d.Log)
	k.volumes, err = volume.New(volume.Deps{
		Node: k.spec, Sources: k.objects, Drivers: d.Drivers, Events: k.events, Log: d.Log,
		Certificates: &volume.Certificates{Client: d.Client, Sources: k.objects, Node: d.Node.Name, Events: k.events},
	})
	if err != nil {
		return nil, err
	}
	k.probes, err = probe.New(probe.Deps{Runtime: d.Runtime, Events: k.events, Changed: func(uid types.UID) { k.pods.Probed(uid) }})
	if err != nil {
		return nil, err
	}
	deps := node.Deps{
		Client: d.Client, View: d.View, Runtime: d.Runtime, Images: d.Images, Events: k.events, Spec: k.spec, Machine: k.machine,
		Reserved: d.Node.Reserved, Labels: d.Node.Labels, Taints: d.Node.Taints, Port: d.Node.Port, Version: d.Node.Version,
		ProviderID: d.Node.ProviderID, Pressure: k.upkeep.Has, Down: k.upkeep.Down, Log: d.Log,
	}
	if d.Resources != nil {
		deps.Devices = d.Resources
	}
	k.node, err = node.New(deps)
	return k, err
}

// Ready is closed once the node has told the API that it is ready.
func (k *Kubelet) Ready() <-chan struct{} { return k.node.Ready() }

// Run runs the node's pods until ctx ends; then it leaves them as they are.
func (k *Kubelet) Run(ctx context.Context) error {
	parts := []run.Component{
		{Name: "node", Run: k.node.Run},
		{Name: "pod status", Run: k.status.Run},
		{Name: "pods", Run: k.runPods},
	}
	return run.All(ctx, parts...)
}

// runPods takes over what the runtime has, and follows the API and the runtime from then on.
func (k *Kubelet) runPods(ctx context.Context) error {
	if err := k.volumes.Prepare(); err != nil {
		return err
	}
	v, err := k.awaitRuntime(ctx)
	if err != nil {
		return err
	}
	deps := pod.Deps{
		Node: k.spec, View: k.deps.View, Runtime: k.deps.Runtime, Images: k.deps.Images, RuntimeName: v.GetRuntimeName(),
		Sources: k.objects, Volumes: k.volumes, Probes: k.probes, Status: k.status, Events: k.events,
		LogLinks: k.deps.Node.LogLinks, Rules: pod.Rules{MaxPods: k.deps.Node.MaxPods, Sysctls: k.deps.Node.AllowedSysctls, AppArmor: k.spec.AppArmor},
		Allocatable: func() core.ResourceList { return k.spec.Allocatable }, Refuse: k.upkeep.Refuse, Changed: k.upkeep.PodsChanged, Log: k.deps.Log,
	}
	if k.deps.Resources != nil {
		deps.Resources = k.deps.Resources
	}
	deps.Pulls, deps.MaxBackOff, deps.Credentials = k.deps.Node.Pulls, k.deps.Node.MaxBackOff, k.deps.Credentials
	if k.pods, err = pod.New(deps); err != nil {
		return err
	}
	if k.deps.Resources != nil {
		k.deps.Resources.Bind(k.pods)
	}
	defer k.pods.Wait()
	k.probes.Bind(ctx)
	events := k.deps.Runtime.Events(ctx) // before the first look, so that nothing falls between
	if err := k.pods.Adopt(ctx); err != nil {
		return err
	}
	if k.deps.Drivers != nil {
		k.deps.Drivers.OnDriver(k.pods.Drivers)
	}
	src := source.New(k.deps.View, k.deps.Node.Name, k.objects, k.pods)
	parts := []run.Component{
		{Name: "source", Run: src.Run},
		{Name: "objects", Run: src.Objects},
		{Name: "runtime events", Run: func(ctx context.Context) error { return k.follow(ctx, events) }},
	}
	if dir := k.deps.Node.StaticPods; dir != "" {
		static := source.NewStatic(dir, k.deps.Node.Name, k.deps.Client, k.deps.View, k.pods, k.deps.Log)
		if err := static.Load(); err != nil { // before the API's pods: what nobody claims then is removed
			return err
		}
		parts = append(parts, run.Component{Name: "static pods", Run: static.Run})
	}
	parts = append(parts, k.upkeep.Components(ctx, k.pods)...)
	if k.deps.Serve.Listener != nil {
		srv, err := serve.New(serve.Deps{
			Client: k.deps.Client, View: k.deps.View, Runtime: k.deps.Runtime, Host: k.pods, Node: k.spec, Probes: k.probes.Page,
			Stats: k.upkeep.Stats(), Config: k.settings(), Pages: k.deps.Serve.Pages, Metrics: k.metrics(), NoLogs: k.deps.Node.NoSystemLogs, LogQuery: k.deps.Node.SystemLogQuery,
			Listener: k.deps.Serve.Listener, TLS: k.deps.Serve.TLS, CAs: k.deps.Serve.CAs, Log: k.deps.Log,
		})
		if err != nil {
			return err
		}
		parts = append(parts, run.Component{Name: "node API", Run: srv.Run})
	}
	return run.All(ctx, parts...)
}

// awaitRuntime waits for a runtime that is not up yet.
func (k *Kubelet) awaitRuntime(ctx context.Context) (*runtimeapi.VersionResponse, error) {
	for wait := 50 * time.Millisecond; ; wait = min(wait*2, 5*time.Second) {
		v, err := k.deps.Runtime.Version(ctx, &runtimeapi.VersionRequest{})
		if err == nil {
			return v, nil
		}
		if ctx.Err() == nil {
			k.deps.Log.Warn("container runtime is down", "err", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

// relistEvery is how often a runtime without events is asked for the state of everything.
const relistEvery = time.Second

// follow hands the runtime's events to the workers. When they end, the runtime was restarted or has none: everything is read again,
// and the next stream is tried.
func (k *Kubelet) follow(ctx context.Context, events <-chan *runtimeapi.ContainerEventResponse) error {
	for {
		began := time.Now()
		for e := range events {
			k.pods.Event(e)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if since := time.Since(began); since < relistEvery {
			t := time.NewTimer(relistEvery - since)
			select {
			case <-ctx.Done():
				t.Stop()
				return ctx.Err()
			case <-t.C:
			}
		}
		events = k.deps.Runtime.Events(ctx)
		began = time.Now()
		if err := k.pods.Relist(ctx); err != nil && ctx.Err() == nil {
			k.deps.Log.Warn("containers not listed", "err", err)
		}
		k.relists.add(began)
	}
}

// recorder makes the absence of a Recorder harmless.
func recorder(r *record.Recorder) pod.Recorder {
	if r == nil {
		return silent{}
	}
	return r
}
