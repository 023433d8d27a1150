package spec

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What glibc and musl accept in resolv.conf, and what Kubernetes bounds.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// DNS is the resolv.conf of a pod, by its dnsPolicy and dnsConfig.
func DNS(n *Node, pod *core.Pod) (*runtimeapi.DNSConfig, error) {
	policy := pod.Spec.DNSPolicy
	if policy == core.DNSClusterFirst && pod.Spec.HostNetwork || policy == "" {
		policy = core.DNSDefault
		if !pod.Spec.HostNetwork {
			policy = core.DNSClusterFirst
		}
	}
	if policy == core.DNSClusterFirst || policy == core.DNSClusterFirstWithHostNet {
		if len(n.ClusterDNS) == 0 {
			policy = core.DNSDefault
		}
	}
	c := &runtimeapi.DNSConfig{}
	if policy != core.DNSNone {
		host, err := readResolvConf(n.ResolvConf)
		if err != nil {
			return nil, err
		}
		if policy == core.DNSDefault {
			c = host
		} else {
			c.Servers = slices.Clone(n.ClusterDNS)
			c.Options = []string{"ndots:5"}
			if d := n.ClusterDomain; d != "" {
				c.Searches = []string{pod.Namespace + ".svc." + d, "svc." + d, d}
			}
			c.Searches = append(c.Searches, host.Searches...)
		}
	}
	if extra := pod.Spec.DNSConfig; extra != nil {
		c.Servers = append(c.Servers, extra.Nameservers...)
		c.Searches = append(c.Searches, extra.Searches...)
		c.Options = mergeOptions(c.Options, extra.Options)
	}
	c.Servers, c.Searches = unique(c.Servers), unique(c.Searches)
	bound(c)
	return c, nil
}

func bound(c *runtimeapi.DNSConfig) {
	c.Servers = c.Servers[:min(len(c.Servers), maxNameservers)]
	c.Searches = c.Searches[:min(len(c.Searches), maxSearches)]
	for len(strings.Join(c.Searches, " ")) > maxSearchChars {
		c.Searches = c.Searches[:len(c.Searches)-1]
	}
}

// mergeOptions lets extra replace what stands in have under the same name.
func mergeOptions(have []string, extra []core.PodDNSConfigOption) []string {
	out := slices.Clone(have)
	for _, o := range extra {
		s := o.Name
		if o.Value != nil && *o.Value != "" {
			s += ":" + *o.Value
		}
		i := slices.IndexFunc(out, func(h string) bool {
			name, _, _ := strings.Cut(h, ":")
			return name == o.Name
		})
		if i >= 0 {
			out[i] = s
		} else {
			out = append(out, s)
		}
	}
	return out
}

func unique(in []string) []string {
	var out []string
	for _, s := range in {
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// resolvedConf is where systemd-resolved tells its upstream servers; its stub on 127.0.0.53 cannot be reached from a pod.
const resolvedConf = "/run/systemd/resolve/resolv.conf"

func readResolvConf(path string) (*runtimeapi.DNSConfig, error) {
	if path == "" {
		return &runtimeapi.DNSConfig{}, nil
	}
	c, err := parseResolvConf(path)
	if err == nil && len(c.Servers) == 1 && c.Servers[0] == "127.0.0.53" {
		if real, err := parseResolvConf(resolvedConf); err == nil && len(real.Servers) > 0 {
			return real, nil
		}
	}
	if os.IsNotExist(err) {
		return &runtimeapi.DNSConfig{}, nil
	}
	return c, err
}

// parseResolvConf reads resolv.conf(5): the last search line counts, a comment begins with # or ;.
func parseResolvConf(path string) (*runtimeapi.DNSConfig, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := &runtimeapi.DNSConfig{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		if len(w) < 2 || strings.HasPrefix(w[0], "#") || strings.HasPrefix(w[0], ";") {
			continue
		}
		switch w[0] {
		case "nameserver":
			c.Servers = append(c.Servers, w[1])
		case "search":
			c.Searches = nil
			for _, s := range w[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				c.Searches = append(c.Searches, s)
			}
		case "options":
			c.Options = w[1:]
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return c, nil
}
