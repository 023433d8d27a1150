package spec

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Field is the value of a downward API field path.
func Field(n *Node, pod *core.Pod, path string, podIPs []netip.Addr) (string, error) {
	if name, ok := subscript(path, "metadata.labels"); ok {
		return pod.Labels[name], nil
	}
	if name, ok := subscript(path, "metadata.annotations"); ok {
		return pod.Annotations[name], nil
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return Lines(pod.Labels), nil
	case "metadata.annotations":
		return Lines(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(n.IPs), nil
	case "status.hostIPs":
		return join(n.IPs), nil
	case "status.podIP":
		return first(podIPs), nil
	case "status.podIPs":
		return join(podIPs), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// subscript reads metadata.labels['name'].
func subscript(path, of string) (string, bool) {
	rest, ok := strings.CutPrefix(path, of+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// Lines is a map as the downward API writes it: key="value", sorted.
func Lines(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for k, v := range m {
		lines = append(lines, fmt.Sprintf("%v=%q", k, v))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func first(ips []netip.Addr) string {
	if len(ips) == 0 {
		return ""
	}
	return ips[0].String()
}

func join(ips []netip.Addr) string {
	s := make([]string, len(ips))
	for i, ip := range ips {
		s[i] = ip.String()
	}
	return strings.Join(s, ",")
}

// ResourceField is a request or limit of c in units of the divisor, rounded up. A limit that c does not have is that of its whole pod, or
// else what the node can give.
func ResourceField(n *Node, pod *core.Pod, c *core.Container, ref *core.ResourceFieldSelector) (string, error) {
	kind, name, ok := strings.Cut(ref.Resource, ".")
	if !ok || kind != "limits" && kind != "requests" {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	var q resource.Quantity
	if kind == "requests" {
		q = c.Resources.Requests[core.ResourceName(name)]
	} else if q, ok = c.Resources.Limits[core.ResourceName(name)]; !ok || q.IsZero() {
		q = n.Allocatable[core.ResourceName(name)]
		if r := pod.Spec.Resources; r != nil {
			if whole := r.Limits[core.ResourceName(name)]; !whole.IsZero() {
				q = whole
			}
		}
	}
	div := ref.Divisor
	if div.IsZero() {
		div = resource.MustParse("1")
	}
	if name == string(core.ResourceCPU) {
		return strconv.FormatInt(int64(math.Ceil(float64(q.MilliValue())/float64(div.MilliValue()))), 10), nil
	}
	return strconv.FormatInt(int64(math.Ceil(float64(q.Value())/float64(div.Value()))), 10), nil
}
