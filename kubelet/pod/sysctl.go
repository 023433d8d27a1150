package pod

import (
	"fmt"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
)

// safeSysctls live in namespaces of the pod and cannot hurt others. Kernels since 4.15 have all of them by namespace.
var safeSysctls = [...]string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
	"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat",
}

// Sysctls are those that pods may set. The zero value has the safe ones.
type Sysctls struct {
	names, prefixes map[string]sysctl.Namespace
}

// AllowSysctls has the unsafe sysctls of these patterns too: names, or beginnings of names with a * behind them. An error tells of one
// that is not known to belong to a namespace.
func AllowSysctls(patterns []string) (Sysctls, error) {
	out := Sysctls{map[string]sysctl.Namespace{}, map[string]sysctl.Namespace{}}
	for _, p := range patterns {
		ns, name, prefix := sysctl.GetNamespace(p)
		if ns == sysctl.UnknownNamespace {
			return out, fmt.Errorf("the sysctls %q are not known to be namespaced", p)
		}
		if prefix {
			out.prefixes[name] = ns
		} else {
			out.names[name] = ns
		}
	}
	return out, nil
}

// check looks for a sysctl that the pod may not set, or that would be the host's.
func (s Sysctls) check(pod *core.Pod) error {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	for _, c := range pod.Spec.SecurityContext.Sysctls {
		name := sysctl.NormalizeName(c.Name)
		ns, ok := s.namespace(name)
		if !ok {
			return fmt.Errorf("%q not allowlisted", name)
		}
		if host := ns == sysctl.IPCNamespace && pod.Spec.HostIPC || ns == sysctl.NetNamespace && pod.Spec.HostNetwork ||
			ns == sysctl.UserNamespace && (pod.Spec.HostUsers == nil || *pod.Spec.HostUsers); host {
			return fmt.Errorf("%q not allowed with host %s enabled", name, ns)
		}
	}
	return nil
}

func (s Sysctls) namespace(name string) (sysctl.Namespace, bool) {
	for _, safe := range safeSysctls {
		if name == safe {
			ns, _, _ := sysctl.GetNamespace(name)
			return ns, true
		}
	}
	if ns, ok := s.names[name]; ok {
		return ns, true
	}
	for p, ns := range s.prefixes {
		if strings.HasPrefix(name, p) {
			return ns, true
		}
	}
	return "", false
}
