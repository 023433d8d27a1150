// Package cadvisor tells what control groups use, under the names that dashboards know from cAdvisor: a kubelet's page /metrics/cadvisor.
//
// The figures are read from the kernel when they are asked for: from the trees of control groups, of v2 or of v1, and from /proc. So they are
// there with every container runtime that gives a container a group named after its id, below that of its pod. What a kernel does not count
// is left out, where cAdvisor says zero: a host with groups of v1 has no figures of pressure, of memory.high, or of pages that were scanned.
// Names, labels and units are cAdvisor's (github.com/google/cadvisor, docs/storage/prometheus.md); one group looks like
//
//	container_memory_rss{container="web",id="/proa/kubepods/pod4e.../9c...",image="shop:1",name="9c...",namespace="shop",pod="web-1"} 4096 1700000000000
//
// It imports kit/prom. Read page.go, then group.go for one group and machine.go for the machine.
package cadvisor
