package process

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/config"
	"proa.dev/kubelet"
	"proa.dev/kubelet/pod"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/upkeep"
)

// kubeletConfig is what the configuration says of the node. An error names the key.
func (n *node) kubeletConfig() (*kubelet.NodeConfig, error) {
	c := n.deps.config
	_, port, err := splitPort(c.Kubelet.Listen)
	if err != nil {
		return nil, err
	}
	out := &kubelet.NodeConfig{
		Name: c.Node, IPs: []netip.Addr{n.deps.address}, Labels: c.Kubelet.Labels, Root: c.KubeletDir, PodLogs: c.PodLogs,
		LogLinks: c.ContainerLogs, CgroupParent: c.CgroupParent, ClusterDNS: []string{c.Network.DNS.String()},
		ClusterDomain: c.Network.Domain, ResolvConf: c.Kubelet.ResolvConf, MaxPods: maxPods(c.Kubelet), Version: Kubernetes, Port: int32(port),
		StaticPods: c.Kubelet.StaticPods, ProviderID: c.Kubelet.ProviderID, Eviction: evictionOf(c.Kubelet), Shutdown: shutdownOf(c.Kubelet),
		ImageGC: imageGCOf(c.Kubelet), Pulls: pullsOf(c.Kubelet), MaxBackOff: c.Kubelet.CrashLoopBackOff.MaxContainerRestartPeriod, Settings: c.Kubelet.Settings(),
		NoSystemLogs: !unless(c.Kubelet.EnableSystemLogHandler), SystemLogQuery: c.Kubelet.EnableSystemLogQuery,
		SeccompUnconfined: !unless(c.Kubelet.SeccompDefault),
		FailSwapOn:        c.Kubelet.FailSwapOn, LimitedSwap: c.Kubelet.MemorySwap.SwapBehavior == "LimitedSwap",
		SingleOOMKill: c.Kubelet.SingleProcessOOMKill,
		Limits:        spec.Limits{Pids: max(c.Kubelet.PodPidsLimit, 0), NoCFSQuota: !unless(c.Kubelet.CPUCFSQuota)},
	}
	switch s := c.Kubelet.ConfigMapAndSecretChangeDetectionStrategy; s {
	case "", "Watch":
	case "Get", "Cache":
		out.ReadFiles = true
	default:
		return nil, fmt.Errorf("kubelet.configMapAndSecretChangeDetectionStrategy: %q is not one of Watch, Get, Cache", s)
	}
	if out.Reserved, err = reservedOf(c.Kubelet); err != nil {
		return nil, err
	}
	if out.Taints, err = taintsOf(c.Kubelet); err != nil {
		return nil, err
	}
	if out.Logs, err = logsOf(c.Kubelet); err != nil {
		return nil, err
	}
	if out.AllowedSysctls, err = pod.AllowSysctls(c.Kubelet.AllowedUnsafeSysctls); err != nil {
		return nil, fmt.Errorf("kubelet.allowedUnsafeSysctls: %w", err)
	}
	return out, nil
}

// unless is a switch that is on unless it was turned off.
func unless(set *bool) bool { return set == nil || *set }

func maxPods(c config.Kubelet) int {
	if n := c.PodsPerCore * runtime.NumCPU(); n > 0 && n < c.MaxPods {
		return n
	}
	return c.MaxPods
}

func taintsOf(c config.Kubelet) (out []core.Taint, err error) {
	for _, t := range c.RegisterWithTaints {
		switch effect := core.TaintEffect(t.Effect); effect {
		case core.TaintEffectNoSchedule, core.TaintEffectPreferNoSchedule, core.TaintEffectNoExecute:
			out = append(out, core.Taint{Key: t.Key, Value: t.Value, Effect: effect})
		default:
			return nil, fmt.Errorf("kubelet.registerWithTaints: %s: effect %q is not one of NoSchedule, PreferNoSchedule, NoExecute", t.Key, t.Effect)
		}
	}
	return out, nil
}

func logsOf(c config.Kubelet) (out upkeep.Logs, err error) {
	if c.ContainerLogMaxSize != "" {
		q, err := resource.ParseQuantity(c.ContainerLogMaxSize)
		if err != nil || q.IsZero() {
			return out, fmt.Errorf("kubelet.containerLogMaxSize: %q is not a quantity such as 10Mi", c.ContainerLogMaxSize)
		}
		out.MaxSize = q.Value()
	}
	if out.MaxFiles = c.ContainerLogMaxFiles; out.MaxFiles == 1 || out.MaxFiles < 0 {
		return out, fmt.Errorf("kubelet.containerLogMaxFiles: %d is too few: at least 2", out.MaxFiles)
	}
	if out.Interval = c.ContainerLogMonitorInterval; out.Interval != 0 && out.Interval < 3*time.Second {
		return out, fmt.Errorf("kubelet.containerLogMonitorInterval: %s is too short: at least 3s", out.Interval)
	}
	if out.Workers = c.ContainerLogMaxWorkers; out.Workers < 0 {
		return out, fmt.Errorf("kubelet.containerLogMaxWorkers: %d is too few: at least 1", out.Workers)
	}
	return out, nil
}
