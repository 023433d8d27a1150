package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config is everything a user may set. The zero value, after Complete, is a working single machine.
type Config struct {
	// Node is the name of this machine in the cluster; default: the host name in lower case.
	Node string `yaml:"node"`
	// DataDir keeps what must outlive a reboot: store, keys, images, volumes. Default /var/lib/proa.
	DataDir string `yaml:"dataDir"`
	// RunDir keeps what ends with a reboot: sockets, keepers, network namespaces. Default /run/proa.
	RunDir string `yaml:"runDir"`
	// KubeletDir is where drivers and plugins expect pod volumes and plugin sockets. Default /var/lib/kubelet.
	KubeletDir string `yaml:"kubeletDir"`
	// PodLogs and ContainerLogs are where log collectors look. Defaults /var/log/pods and /var/log/containers.
	PodLogs       string `yaml:"podLogs"`
	ContainerLogs string `yaml:"containerLogs"`
	// CgroupParent is the cgroup under which all pods run. Default /proa.
	CgroupParent string `yaml:"cgroupParent"`
	// Kubeconfig is the file into which `proa up` merges its context. Default: $KUBECONFIG, else ~/.kube/config.
	Kubeconfig string `yaml:"kubeconfig"`
	// ServerKubeconfig is the file by which `proa agent` knows its server and itself: what `proa kubeconfig --node=NAME` printed there.
	ServerKubeconfig string `yaml:"serverKubeconfig"`
	// Disable switches parts off: scheduler, controllers, kubelet, proxy, dns, metrics, local-volumes.
	Disable []string `yaml:"disable"`

	API         API         `yaml:"api"`
	Etcd        Etcd        `yaml:"etcd"`
	Network     Network     `yaml:"network"`
	Kubelet     Kubelet     `yaml:"kubelet"`
	Runtime     Runtime     `yaml:"runtime"`
	Autoscaling Autoscaling `yaml:"autoscaling"`
	Log         Log         `yaml:"log"`
}

// API is where and how the API is served.
type API struct {
	// Listen is the address of the HTTPS port. Default 0.0.0.0:6443.
	Listen string `yaml:"listen"`
	// Address is what clients are told to connect to; default: this machine's first address and Listen's port.
	Address string `yaml:"address"`
	// Names are further names and addresses that the serving certificate carries.
	Names []string `yaml:"names"`
	// AuditLog is a file for the audit log, one JSON line a request; "-" is the standard output; empty: none. Without audit.policy every
	// request is one line, without its objects.
	AuditLog string `yaml:"auditLog"`
	// Audit says what is written down, and how.
	Audit Audit `yaml:"audit"`
	// Encryption is a file with an apiserver.config.k8s.io/v1 EncryptionConfiguration: which resources are encrypted in the store, and how.
	// A change of it is followed while proa runs; proa secrets reencrypt then rewrites what there is. Empty: nothing is encrypted.
	Encryption string `yaml:"encryption"`
	// MaxRequests is how many requests run at once, shared out by flow schemas and priority levels. Default 600.
	MaxRequests int `yaml:"maxRequests"`
	// NoProfiling takes away /debug/pprof/, by which those who may get that path see where the server spends its time and memory.
	NoProfiling bool `yaml:"noProfiling"`
	// GoawayChance is how often, of all HTTP/2 requests, the client is told to connect anew, so that clients spread out again behind a load
	// balancer: 0 (the default; never) to 0.02.
	GoawayChance float64 `yaml:"goawayChance"`
	// DisableAdmission names admission plugins that are left out, as Kubernetes names them: PodSecurity, ServiceAccount ...
	DisableAdmission []string `yaml:"disableAdmission"`
	// PodSecurity is a file with a PodSecurityConfiguration of pod-security.admission.config.k8s.io/v1: the levels that hold where the labels
	// of a namespace say nothing, and which users, namespaces and runtime classes are exempt. Empty: all is allowed but what labels forbid.
	PodSecurity string `yaml:"podSecurity"`
	// Authentication is a file with an AuthenticationConfiguration of apiserver.config.k8s.io/v1: identity providers (OIDC), and who may
	// be anonymous. It is read again when it changes. Empty: no providers, and what the roles of system:unauthenticated allow.
	Authentication string `yaml:"authentication"`
	// TokenWebhook is a kubeconfig of a webhook that is asked whose token it is where nobody else knows; empty: none. Its answers are good
	// for TokenWebhookTTL; default 2m.
	TokenWebhook    string        `yaml:"tokenWebhook"`
	TokenWebhookTTL time.Duration `yaml:"tokenWebhookTTL"`
	// Authorization is a file with an AuthorizationConfiguration of apiserver.config.k8s.io/v1: who decides what users may do, and in which
	// order. It is read again when it changes. Empty: Node, then RBAC.
	Authorization string `yaml:"authorization"`
	// MaxTokenLife bounds the life of service account tokens, at least 1h; 0 is no bound.
	MaxTokenLife time.Duration `yaml:"maxTokenLife"`
}

// Audit is how requests are written down.
type Audit struct {
	// Policy is a file with an audit.k8s.io/v1 Policy.
	Policy string `yaml:"policy"`
	// MaxSize is the megabytes at which auditLog is put aside and begun anew. Default 100.
	MaxSize int `yaml:"maxSize"`
	// MaxAge and MaxBackups bound how many days and how many files are kept of what was put aside. Default: all.
	MaxAge     int `yaml:"maxAge"`
	MaxBackups int `yaml:"maxBackups"`
	// Compress makes files that were put aside into .gz.
	Compress bool `yaml:"compress"`
	// Mode is when auditLog is written: blocking (before the answer goes), blocking-strict (a request that cannot be written down is
	// refused) or batch (later). Default blocking.
	Mode string `yaml:"mode"`
	// Webhook is a kubeconfig file that says where events are posted; empty: nowhere. They are posted in batches, later.
	Webhook string `yaml:"webhook"`
	// MaxEventSize is the bytes beyond which an event loses its objects; 0: never.
	MaxEventSize int `yaml:"maxEventSize"`
}

// Etcd names an existing etcd cluster. Without Servers, proa keeps its own store.
type Etcd struct {
	Servers []string `yaml:"servers"`
	CA      string   `yaml:"ca"`
	Cert    string   `yaml:"cert"`
	Key     string   `yaml:"key"`
}

// Network is the addresses of the cluster and how pods get theirs.
type Network struct {
	// Pods and Services are the ranges of the cluster, at most one of each address family. Defaults 10.42.0.0/16, 10.43.0.0/16.
	Pods     []netip.Prefix `yaml:"pods"`
	Services []netip.Prefix `yaml:"services"`
	// DNS is the address of the cluster's DNS, inside Services. Default: the tenth address.
	DNS netip.Addr `yaml:"dns"`
	// Domain is the cluster's DNS domain. Default cluster.local.
	Domain string `yaml:"domain"`
	// Upstreams are the resolvers for all other names; default: those of /etc/resolv.conf.
	Upstreams []netip.AddrPort `yaml:"upstreams"`
	// Bridge is the name of the bridge of the built-in network plugin. Default proa0.
	Bridge string `yaml:"bridge"`
	// CNIConf and CNIBin are where other network plugins are configured and installed. Defaults /etc/cni/net.d, /opt/cni/bin. A
	// configuration in CNIConf is used only with UseCNI.
	CNIConf string   `yaml:"cniConf"`
	CNIBin  []string `yaml:"cniBin"`
	UseCNI  bool     `yaml:"useCNI"`
	// NodePorts is the range of node ports, as "30000-32767".
	NodePorts string `yaml:"nodePorts"`
}

// Kubelet is the node agent.
type Kubelet struct {
	// Listen is the address of its HTTPS port. Default 0.0.0.0:10250.
	Listen string `yaml:"listen"`
	// Address is the node's InternalIP; default: the source address of the default route, else of the first usable interface.
	Address netip.Addr `yaml:"address"`
	// MaxPods bounds the pods of this node. Default 110.
	MaxPods int `yaml:"maxPods"`
	// Labels are put on the node.
	Labels map[string]string `yaml:"labels"`
	// StaticPods is a directory of pod manifests that run without the API; empty: none.
	StaticPods string `yaml:"staticPods"`

	// What follows is as in a KubeletConfiguration of Kubernetes.

	// SystemReserved and KubeReserved are what pods can not have: cpu, memory, ephemeral-storage, pid; as quantities.
	SystemReserved map[string]string `yaml:"systemReserved"`
	KubeReserved   map[string]string `yaml:"kubeReserved"`
	// EvictionHard ends pods at once when less is left: signal (memory.available, nodefs.available, nodefs.inodesFree, imagefs.available,
	// imagefs.inodesFree, pid.available) to a quantity or a percentage. Default 100Mi of memory, 5% of disks and
	// their inodes, 10% of process ids. A map replaces them all.
	EvictionHard map[string]string `yaml:"evictionHard"`
	// EvictionSoft ends them when that lasts for EvictionSoftGracePeriod, and gives them up to EvictionMaxPodGracePeriod seconds.
	EvictionSoft              map[string]string `yaml:"evictionSoft"`
	EvictionSoftGracePeriod   map[string]string `yaml:"evictionSoftGracePeriod"`
	EvictionMaxPodGracePeriod int               `yaml:"evictionMaxPodGracePeriod"`
	// EvictionMinimumReclaim is how much more than its threshold has to be there again, by signal.
	EvictionMinimumReclaim map[string]string `yaml:"evictionMinimumReclaim"`
	// EvictionPressureTransitionPeriod is how long the node's condition stays after it was last true. Default 5m.
	EvictionPressureTransitionPeriod time.Duration `yaml:"evictionPressureTransitionPeriod"`
	// ShutdownGracePeriod is how long a shutdown of the machine waits for pods, and ShutdownGracePeriodCriticalPods how much of it, at the
	// end, is for critical ones. Default 0: it does not wait. ShutdownGracePeriodByPodPriority gives times by priority instead.
	ShutdownGracePeriod              time.Duration    `yaml:"shutdownGracePeriod"`
	ShutdownGracePeriodCriticalPods  time.Duration    `yaml:"shutdownGracePeriodCriticalPods"`
	ShutdownGracePeriodByPodPriority []ShutdownPeriod `yaml:"shutdownGracePeriodByPodPriority"`
	// CPUManagerPolicy "static" gives containers of guaranteed pods that ask for whole CPUs those for themselves; default "none". Its options
	// are full-pcpus-only, distribute-cpus-across-numa, align-by-socket, distribute-cpus-across-cores, strict-cpu-reservation and
	// prefer-align-cpus-by-uncorecache, each "true" or "false".
	CPUManagerPolicy        string            `yaml:"cpuManagerPolicy"`
	CPUManagerPolicyOptions map[string]string `yaml:"cpuManagerPolicyOptions"`
	// ReservedSystemCPUs are CPUs that are never given away so, as "0-1,4", in place of the cpu of SystemReserved and KubeReserved.
	ReservedSystemCPUs string `yaml:"reservedSystemCPUs"`
	// MemoryManagerPolicy "Static" keeps the memory of guaranteed pods on NUMA nodes that have it; default "None". ReservedMemory is what
	// pods do not get, by node; its sum is that of SystemReserved, KubeReserved and the eviction threshold of memory (default 100Mi).
	MemoryManagerPolicy string           `yaml:"memoryManagerPolicy"`
	ReservedMemory      []ReservedMemory `yaml:"reservedMemory"`
	// TopologyManagerPolicy is none (the default), best-effort, restricted or single-numa-node: how near to each other devices, CPUs and
	// memory have to be. TopologyManagerScope is container (the default) or pod. The options are prefer-closest-numa-nodes and
	// max-allowable-numa-nodes.
	TopologyManagerPolicy        string            `yaml:"topologyManagerPolicy"`
	TopologyManagerScope         string            `yaml:"topologyManagerScope"`
	TopologyManagerPolicyOptions map[string]string `yaml:"topologyManagerPolicyOptions"`
	// ImageGCHighThresholdPercent of the disk used begins to remove unused images, until ImageGCLowThresholdPercent are left. Defaults 85, 80.
	// ImageMinimumGCAge protects younger ones (default 2m); ImageMaximumGCAge removes those unused for longer whatever is free (default
	// 0: never).
	ImageGCHighThresholdPercent int           `yaml:"imageGCHighThresholdPercent"`
	ImageGCLowThresholdPercent  int           `yaml:"imageGCLowThresholdPercent"`
	ImageMinimumGCAge           time.Duration `yaml:"imageMinimumGCAge"`
	ImageMaximumGCAge           time.Duration `yaml:"imageMaximumGCAge"`
	// MaxParallelImagePulls bounds the images that are pulled at the same time. Default 0: no bound. SerializeImagePulls pulls one after the
	// other; default false, where Kubernetes says true.
	MaxParallelImagePulls int  `yaml:"maxParallelImagePulls"`
	SerializeImagePulls   bool `yaml:"serializeImagePulls"`
	// RegistryPullQPS is how many pulls may begin each second after RegistryBurst (default 10) at once; one more fails, and is tried again
	// later. Default 0: any number, where Kubernetes says 5.
	RegistryPullQPS int `yaml:"registryPullQPS"`
	RegistryBurst   int `yaml:"registryBurst"`
	// ImagePullCredentialsVerificationPolicy says which images pods may use that are on the node, without credentials by which they were
	// pulled before: NeverVerifyPreloadedImages (the default), those that no pod pulled, as those of proa image import; NeverVerify, all;
	// NeverVerifyAllowlistedImages, those of PreloadedImagesVerificationAllowlist (names without tag and digest, or "reg.example/team/*");
	// AlwaysVerify, none. Those that were pulled without credentials are everybody's.
	ImagePullCredentialsVerificationPolicy string   `yaml:"imagePullCredentialsVerificationPolicy"`
	PreloadedImagesVerificationAllowlist   []string `yaml:"preloadedImagesVerificationAllowlist"`
	// CrashLoopBackOff is how long containers wait that end again and again.
	CrashLoopBackOff CrashLoopBackOff `yaml:"crashLoopBackOff"`
	// ImageCredentialProviderConfig is a CredentialProviderConfig file, and ImageCredentialProviderBinDir where its plugins are, which are
	// asked for the credentials of images.
	ImageCredentialProviderConfig string `yaml:"imageCredentialProviderConfig"`
	ImageCredentialProviderBinDir string `yaml:"imageCredentialProviderBinDir"`
	// FailSwapOn keeps a node from starting on a machine that swaps. Unlike Kubernetes' its default is false: pods do not swap anyway, unless
	// MemorySwap says so.
	FailSwapOn bool `yaml:"failSwapOn"`
	// MemorySwap is how pods use the machine's swap.
	MemorySwap MemorySwap `yaml:"memorySwap,omitempty"`
	// SingleProcessOOMKill ends one process of a container that has run out of memory, and not all. Default false, with control groups of v1
	// always true.
	SingleProcessOOMKill *bool `yaml:"singleProcessOOMKill"`
	// AllowedUnsafeSysctls may be set by pods beside the safe ones: names, or beginnings of names with a * behind them (kernel.msg*). They
	// have to be of the pod's own namespaces.
	AllowedUnsafeSysctls []string `yaml:"allowedUnsafeSysctls"`
	// PodPidsLimit bounds the processes and threads of each pod. Default 0, and -1: no bound.
	PodPidsLimit int64 `yaml:"podPidsLimit"`
	// PodsPerCore bounds the pods by the number of CPUs, below MaxPods. Default 0: no bound.
	PodsPerCore int `yaml:"podsPerCore"`
	// CPUCFSQuota enforces limits of CPU. Default true.
	CPUCFSQuota *bool `yaml:"cpuCFSQuota"`
	// SeccompDefault gives containers without a seccomp profile the runtime's. Default true, other than Kubernetes'.
	SeccompDefault *bool `yaml:"seccompDefault"`
	// ResolvConf is the file that pods with the DNS policy Default have their names from. Default /etc/resolv.conf.
	ResolvConf string `yaml:"resolvConf"`
	// ContainerLogMaxSize, a quantity, is how large a log grows until it is rotated (default 10Mi; a negative one: for ever), and
	// ContainerLogMaxFiles how many files of a container are kept, at least 2 (default 5).
	ContainerLogMaxSize  string `yaml:"containerLogMaxSize"`
	ContainerLogMaxFiles int    `yaml:"containerLogMaxFiles"`
	// ContainerLogMonitorInterval is how often the sizes of logs are looked at, at least 3s (default 10s), and ContainerLogMaxWorkers how many
	// logs are rotated at a time (default 1).
	ContainerLogMonitorInterval time.Duration `yaml:"containerLogMonitorInterval"`
	ContainerLogMaxWorkers      int           `yaml:"containerLogMaxWorkers"`
	// RegisterWithTaints are the taints that the node has when it is new.
	RegisterWithTaints []Taint `yaml:"registerWithTaints"`
	// ProviderID names this machine to a cloud's controllers.
	ProviderID string `yaml:"providerID"`
	// ConfigMapAndSecretChangeDetectionStrategy is how an agent learns that ConfigMaps and Secrets of its pods change: Watch (the default), Get
	// or Cache; with the last two it reads them again every 30 seconds. The node beside a server sees every change whatever stands here.
	ConfigMapAndSecretChangeDetectionStrategy string `yaml:"configMapAndSecretChangeDetectionStrategy"`
	// EnableSystemLogHandler shows the node's logs at /logs/ of its API. Default true.
	EnableSystemLogHandler *bool `yaml:"enableSystemLogHandler"`
	// EnableSystemLogQuery lets /logs/?query= ask the journal and files by the name of a service; kubelet and proa are this daemon.
	EnableSystemLogQuery bool `yaml:"enableSystemLogQuery"`
}

// MemorySwap says with SwapBehavior how pods use swap: "NoSwap" (the default), or "LimitedSwap": containers of burstable pods as much of it
// as what they request is of the machine's memory. That needs control groups of v2.
type MemorySwap struct {
	SwapBehavior string `yaml:"swapBehavior"`
}

// CrashLoopBackOff is how long containers wait that end again and again: 10s, doubling.
type CrashLoopBackOff struct {
	// MaxContainerRestartPeriod is the most, 1s to 5m. Default 5m.
	MaxContainerRestartPeriod time.Duration `yaml:"maxContainerRestartPeriod"`
}

// ReservedMemory is what is kept of one NUMA node: memory and hugepages-SIZE, as quantities.
type ReservedMemory struct {
	NUMANode int               `yaml:"numaNode"`
	Limits   map[string]string `yaml:"limits"`
}

// Taint keeps pods off a node that do not tolerate it.
type Taint struct {
	Key    string `yaml:"key"`
	Value  string `yaml:"value"`
	Effect string `yaml:"effect"` // NoSchedule, PreferNoSchedule or NoExecute
}

// ShutdownPeriod is how long pods of a priority, and those up to the next one, have when the machine goes down.
type ShutdownPeriod struct {
	Priority                   int32 `yaml:"priority"`
	ShutdownGracePeriodSeconds int64 `yaml:"shutdownGracePeriodSeconds"`
}

// Runtime is what runs containers.
type Runtime struct {
	// Endpoint is the CRI socket of another runtime ("unix:///run/containerd/containerd.sock"); empty: proa's own.
	Endpoint string `yaml:"endpoint"`
	// OCI is the path of a runc-compatible binary; empty: proa's own.
	OCI string `yaml:"oci"`
	// Handlers are the OCI binaries of RuntimeClass handlers, by handler name.
	Handlers map[string]string `yaml:"handlers"`
	// Socket is where proa serves CRI itself. Default <runDir>/cri.sock.
	Socket string `yaml:"socket"`
	// Registries maps a registry host to how it is reached.
	Registries map[string]Registry `yaml:"registries"`
}

// Registry is how one image registry is reached.
type Registry struct {
	Mirrors  []string `yaml:"mirrors"` // tried before the registry itself, as URLs
	CA       string   `yaml:"ca"`      // a PEM file trusted besides the system's
	Cert     string   `yaml:"cert"`    // a PEM file with the certificate that a registry wants of its clients
	Key      string   `yaml:"key"`     // and its key
	Insecure bool     `yaml:"insecure"`
	HTTP     bool     `yaml:"http"`
	Username string   `yaml:"username"`
	Password string   `yaml:"password"`
}

// Autoscaling is how HorizontalPodAutoscalers are worked on: what kube-controller-manager has flags for.
type Autoscaling struct {
	// Period is the time between two looks at what is measured. Default 15s.
	Period time.Duration `yaml:"period"`
	// Stabilization is how long fewer replicas must have been enough, unless the autoscaler says. Default 5m.
	Stabilization time.Duration `yaml:"stabilization"`
	// Tolerance is how far what is measured may be from what should be, as a ratio. Default 0.1.
	Tolerance float64 `yaml:"tolerance"`
	// CPUInitialization is how long what a pod uses does not count unless it is ready. Default 5m.
	CPUInitialization time.Duration `yaml:"cpuInitialization"`
	// ReadinessDelay: a pod that stops to be ready so soon after its start was never ready. Default 30s.
	ReadinessDelay time.Duration `yaml:"readinessDelay"`
}

// Log is how the daemon logs.
type Log struct {
	// Level is debug, info, warn or error. Default info.
	Level string `yaml:"level"`
	// Format is text or json. Default text.
	Format string `yaml:"format"`
}

// Parts are what Disable may name.
var Parts = []string{"scheduler", "controllers", "kubelet", "proxy", "dns", "metrics", "local-volumes"}

// Complete fills in every default.
func (c *Config) Complete() {
	if c.Node == "" {
		host, _ := os.Hostname()
		c.Node = strings.ToLower(host)
	}
	or(&c.DataDir, "/var/lib/proa")
	or(&c.RunDir, "/run/proa")
	or(&c.KubeletDir, "/var/lib/kubelet")
	or(&c.PodLogs, "/var/log/pods")
	or(&c.ContainerLogs, "/var/log/containers")
	or(&c.CgroupParent, "/proa")
	or(&c.API.Listen, "0.0.0.0:6443")
	if c.Network.Pods == nil {
		c.Network.Pods = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}
	}
	if c.Network.Services == nil {
		c.Network.Services = []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}
	}
	if !c.Network.DNS.IsValid() {
		c.Network.DNS = nth(c.Network.Services[0], 10)
	}
	or(&c.Network.Domain, "cluster.local")
	or(&c.Network.Bridge, "proa0")
	or(&c.Network.CNIConf, "/etc/cni/net.d")
	if c.Network.CNIBin == nil {
		c.Network.CNIBin = []string{"/opt/cni/bin"}
	}
	or(&c.Network.NodePorts, "30000-32767")
	or(&c.Kubelet.Listen, "0.0.0.0:10250")
	if c.Kubelet.MaxPods == 0 {
		c.Kubelet.MaxPods = 110
	}
	or(&c.Runtime.Socket, filepath.Join(c.RunDir, "cri.sock"))
	or(&c.Log.Level, "info")
	or(&c.Log.Format, "text")
}

// Places are the directories and files below which everything stands that proa writes on this machine, but for the kubeconfig.
func (c *Config) Places() []string {
	kubelet := func(dir string) string { return filepath.Join(c.KubeletDir, dir) }
	return []string{c.DataDir, c.RunDir, kubelet("pods"), kubelet("memory"), kubelet("plugins/kubernetes.io"), c.PodLogs, c.ContainerLogs}
}

// Enabled says whether a part of Parts is not switched off.
func (c *Config) Enabled(part string) bool {
	for _, d := range c.Disable {
		if d == part {
			return false
		}
	}
	return true
}

func or(s *string, def string) {
	if *s == "" {
		*s = def
	}
}

// nth is the address n after the first of p.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}
