package kubelet

import (
	"cmp"
	"maps"
	"net/netip"
	"time"
)

// settings are the fields of a KubeletConfiguration as this kubelet has them. Fields that stand for nothing here are left out.
func (k *Kubelet) settings() map[string]any {
	n := &k.deps.Node
	reserved := map[string]string{}
	for name, q := range n.Reserved {
		reserved[string(name)] = q.String()
	}
	out := map[string]any{
		"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
		"enableServer": k.deps.Serve.Listener != nil, "port": n.Port, "readOnlyPort": 0, "healthzPort": 0,
		"authentication": map[string]any{
			"x509": map[string]any{}, "anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true, "cacheTTL": "2m0s"},
		},
		"authorization": map[string]any{"mode": "Webhook", "webhook": map[string]any{"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"}},
		"staticPodPath": n.StaticPods, "podLogsDir": n.PodLogs, "clusterDomain": n.ClusterDomain, "clusterDNS": n.ClusterDNS, "resolvConf": n.ResolvConf,
		"cgroupRoot": n.CgroupParent, "cgroupsPerQOS": true, "cgroupDriver": "cgroupfs", "enforceNodeAllocatable": []string{"pods"},
		"maxPods": n.MaxPods, "podPidsLimit": cmp.Or(n.Limits.Pids, -1), "cpuCFSQuota": !n.Limits.NoCFSQuota, "cpuCFSQuotaPeriod": "100ms", "failSwapOn": n.FailSwapOn, "failCgroupV1": false, "singleProcessOOMKill": k.spec.SingleOOMKill || !k.spec.CgroupV2,
		"seccompDefault": !n.SeccompUnconfined, "systemReserved": reserved, "registerNode": true, "registerWithTaints": n.Taints,
		"nodeStatusUpdateFrequency": "10s", "nodeStatusReportFrequency": "5m0s", "nodeLeaseDurationSeconds": 40, "nodeStatusMaxImages": 50,
		"crashLoopBackOff":                          map[string]any{"maxContainerRestartPeriod": cmp.Or(n.MaxBackOff, 5*time.Minute).String()},
		"configMapAndSecretChangeDetectionStrategy": "Watch", "enableControllerAttachDetach": true,
		"enableDebuggingHandlers": true, "enableProfilingHandler": true, "enableDebugFlagsHandler": false,
		"enableSystemLogHandler": !n.NoSystemLogs, "enableSystemLogQuery": n.SystemLogQuery, "localStorageCapacityIsolation": true,
	}
	if l := k.deps.Serve.Listener; l != nil {
		if at, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
			out["address"], out["port"] = at.Addr().String(), at.Port()
		}
	}
	maps.Copy(out, k.upkeep.Settings())
	maps.Copy(out, k.pods.Puller().Settings())
	maps.Copy(out, n.Settings)
	return out
}
