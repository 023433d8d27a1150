package spec

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	core "k8s.io/api/core/v1"
)

// Hosts is the content of the pod's /etc/hosts. Its first line is part of the interface: programs look for it to see who wrote the
// file.
func Hosts(n *Node, pod *core.Pod, podIPs []netip.Addr) ([]byte, error) {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		file, err := os.ReadFile(n.HostsFile)
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("read the node's hosts file: %w", err)
		}
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(file)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n" +
			"127.0.0.1\tlocalhost\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\n" +
			"fe00::0\tip6-mcastprefix\n" +
			"fe00::1\tip6-allnodes\n" +
			"fe00::2\tip6-allrouters\n")
		host, domain := Hostname(pod, n.ClusterDomain)
		names := host
		if domain != "" {
			names = host + "." + domain + "\t" + host
		}
		for _, ip := range podIPs {
			fmt.Fprintf(&b, "%s\t%s\n", ip, names)
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return []byte(b.String()), nil
}
