package pod

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
)

func TestSysctls(t *testing.T) {
	unsafe := []string{"net.core.somaxconn", "kernel.msg*", "net/ipv6/conf/*"}
	host := func(s *core.PodSpec) { s.HostNetwork, s.HostIPC = true, true }
	for _, c := range []struct {
		name    string
		allowed []string
		spec    func(*core.PodSpec)
		want    string
	}{
		{name: "kernel.shm_rmid_forced"},
		{name: "kernel/shm_rmid_forced"},
		{name: "net.ipv4.tcp_notsent_lowat"},
		{name: "kernel.shm_rmid_forced", spec: host, want: `"kernel.shm_rmid_forced" not allowed with host IPC enabled`},
		{name: "net.ipv4.ip_local_port_range", spec: host, want: `"net.ipv4.ip_local_port_range" not allowed with host Net enabled`},
		{name: "net.core.somaxconn", want: `"net.core.somaxconn" not allowlisted`},
		{name: "net.core.somaxconn", allowed: unsafe},
		{name: "net/core/somaxconn", allowed: unsafe},
		{name: "kernel.msgmax", allowed: unsafe},
		{name: "kernel.msgmax", allowed: unsafe, spec: host, want: `"kernel.msgmax" not allowed with host IPC enabled`},
		{name: "net.ipv6.conf.all.forwarding", allowed: unsafe},
		{name: "net/ipv4/conf/eno2.100/rp_filter", allowed: unsafe, want: `"net.ipv4.conf.eno2/100.rp_filter" not allowlisted`},
		{name: "kernel.sem", allowed: unsafe, want: `"kernel.sem" not allowlisted`},
	} {
		s, err := AllowSysctls(c.allowed)
		if err != nil {
			t.Fatal(err)
		}
		p := &core.Pod{Spec: core.PodSpec{SecurityContext: &core.PodSecurityContext{Sysctls: []core.Sysctl{{Name: c.name, Value: "1"}}}}}
		if c.spec != nil {
			c.spec(&p.Spec)
		}
		got := ""
		if err := s.check(p); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s with %v: %q, not %q", c.name, c.allowed, got, c.want)
		}
	}
	for _, bad := range []string{"vm.swappiness", "kernel.*", "fs.file-max"} {
		if _, err := AllowSysctls([]string{bad}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s is allowed: %v", bad, err)
		}
	}
}
