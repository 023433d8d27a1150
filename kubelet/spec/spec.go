package spec

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Node is what of the node goes into its pods.
type Node struct {
	Name          string
	IPs           []netip.Addr
	Root          string // "/var/lib/kubelet"
	PodLogs       string // "/var/log/pods"
	CgroupParent  string // "/proa"; "" is the root
	ClusterDNS    []string
	ClusterDomain string // "cluster.local"
	ResolvConf    string // "/etc/resolv.conf"
	HostsFile     string // "/etc/hosts"
	// Users is the user namespace of a pod, nil for the host's. Without it no pod has one.
	Users func(*core.Pod) (*runtimeapi.UserNamespace, error)
	// SeccompUnconfined leaves containers that name no profile without one; the default is the runtime's profile.
	SeccompUnconfined bool
	Limits            Limits
	AppArmor          bool     // the kernel has it
	CgroupV2          bool     // control groups are those of v2, all of them
	HugePages         []string // sizes of which the node has pages, as "2Mi"
	Memory, Swap      int64    // bytes
	// LimitedSwap lets containers swap a share of Swap.
	LimitedSwap bool
	// SingleOOMKill lets the kernel end one process of a container that runs out of memory, and not all of them.
	SingleOOMKill bool
	Allocatable   core.ResourceList // stands in for limits that a container does not have
}

// Limits are those that the node has for all its pods.
type Limits struct {
	Pids       int64 // processes and threads of a pod; 0: any number
	NoCFSQuota bool  // limits of CPU are not enforced
}

// Sources finds the objects that a pod's spec refers to. A missing one is apierrors.IsNotFound.
type Sources interface {
	ConfigMap(namespace, name string) (*core.ConfigMap, error)
	Secret(namespace, name string) (*core.Secret, error)
	Services(namespace string) []*core.Service
}

// EnvSources finds what environments are made of.
type EnvSources interface {
	Sources
	// File is a file in one of the pod's volumes, whose path does not lead out of it; fs.ErrNotExist if there is none.
	File(pod *core.Pod, volume, path string) ([]byte, error)
}

// PodDir is where the kubelet keeps what belongs to one pod.
func (n *Node) PodDir(uid types.UID) string { return filepath.Join(n.Root, "pods", string(uid)) }

// LogDir is where the containers of a pod write their logs.
func (n *Node) LogDir(pod *core.Pod) string {
	return filepath.Join(n.PodLogs, fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID))
}

// LogPath is the log of one instance of a container, relative to LogDir.
func LogPath(container string, restarts int) string {
	return filepath.Join(container, fmt.Sprintf("%d.log", restarts))
}

// Cgroup is the cgroup that holds the pod: a level for the class of service, and one for the pod.
func (n *Node) Cgroup(pod *core.Pod) string {
	parts := []string{"/", n.CgroupParent, "kubepods"}
	switch QOS(pod) {
	case core.PodQOSBurstable:
		parts = append(parts, "burstable")
	case core.PodQOSBestEffort:
		parts = append(parts, "besteffort")
	}
	return filepath.Join(append(parts, "pod"+string(pod.UID))...)
}

// Name is how messages name a pod: "web_default(0c9a...)".
func Name(pod *core.Pod) string { return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID) }

// Sidecar says whether an init container keeps running beside the others.
func Sidecar(c *core.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways
}

// FindContainer is the container of that name, and the field of the pod that it stands in ("spec.containers{web}").
func FindContainer(pod *core.Pod, name string) (c *core.Container, field string) {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i], "spec.containers{" + name + "}"
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i], "spec.initContainers{" + name + "}"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return Ephemeral(&pod.Spec.EphemeralContainers[i]), "spec.ephemeralContainers{" + name + "}"
		}
	}
	return nil, ""
}

// Ephemeral is an ephemeral container seen as a container.
func Ephemeral(e *core.EphemeralContainer) *core.Container {
	c := core.Container(e.EphemeralContainerCommon)
	return &c
}

// Hostname is the pod's host name, at most 63 bytes, and its domain ("" unless it has a subdomain).
func Hostname(pod *core.Pod, clusterDomain string) (host, domain string) {
	host = pod.Name
	if pod.Spec.Hostname != "" {
		host = pod.Spec.Hostname
	}
	if o := pod.Spec.HostnameOverride; o != nil {
		return cut(*o, 63), ""
	}
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	return cut(host, 63), domain
}

// kernelHostname is what uname -n shall print in the pod.
func kernelHostname(pod *core.Pod, clusterDomain string) (string, error) {
	host, domain := Hostname(pod, clusterDomain)
	if domain == "" || pod.Spec.SetHostnameAsFQDN == nil || !*pod.Spec.SetHostnameAsFQDN {
		return host, nil
	}
	fqdn := host + "." + domain
	if len(fqdn) > 64 {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (64 characters is the max, %d characters requested)", fqdn, len(fqdn))
	}
	return fqdn, nil
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.TrimRight(s[:n], "-.")
}

// Ref is an object that a pod takes data from.
type Ref struct {
	Kind string // "ConfigMap" or "Secret"
	Name string
}

// Refs are the ConfigMaps and Secrets that the containers and volumes of a pod name, each once, and whether a volume shows them.
func Refs(pod *core.Pod) map[Ref]bool {
	out := map[Ref]bool{}
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			envRefs(&list[i], out)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		envRefs(Ephemeral(&pod.Spec.EphemeralContainers[i]), out)
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			out[Ref{"ConfigMap", v.ConfigMap.Name}] = true
		case v.Secret != nil:
			out[Ref{"Secret", v.Secret.SecretName}] = true
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					out[Ref{"ConfigMap", s.ConfigMap.Name}] = true
				}
				if s.Secret != nil {
					out[Ref{"Secret", s.Secret.Name}] = true
				}
			}
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		if r := (Ref{"Secret", s.Name}); !out[r] {
			out[r] = false
		}
	}
	return out
}

func envRefs(c *core.Container, out map[Ref]bool) {
	for _, f := range c.EnvFrom {
		if f.ConfigMapRef != nil {
			out[Ref{"ConfigMap", f.ConfigMapRef.Name}] = false
		}
		if f.SecretRef != nil {
			out[Ref{"Secret", f.SecretRef.Name}] = false
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			out[Ref{"ConfigMap", r.Name}] = false
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			out[Ref{"Secret", r.Name}] = false
		}
	}
}
