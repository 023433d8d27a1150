package pod

import (
	"fmt"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	devices "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/resource"
	schedule "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// Rules are what the node's configuration says of the pods that it takes.
type Rules struct {
	MaxPods int // 0: any number
	Sysctls Sysctls
	// AppArmor says that the kernel has it.
	AppArmor bool
}

// admit says why the node cannot take a pod beside the others that it has; nil: it can. The scheduler asked the same before, but
// perhaps on older news, and a pod may name its node itself.
func (r *Rules) admit(pod *core.Pod, others []*core.Pod, node *core.Node) *status.Reason {
	no := func(reason, format string, args ...any) *status.Reason {
		return &status.Reason{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	if os, ok := pod.Labels[core.LabelOSStable]; ok && os != "linux" {
		return no("PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")
	}
	if os := pod.Spec.OS; os != nil && os.Name != core.Linux {
		return no("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
	}
	if wantsDroppedGroups(pod) && !dropsGroups(node) {
		return no("SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=%s is not supported in this node", core.SupplementalGroupsPolicyStrict)
	}
	if r.MaxPods > 0 && len(others) >= r.MaxPods {
		return no("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", len(others), r.MaxPods)
	}
	if short := overbooked(pod, others, node); short != "" {
		want, used, have := amounts(core.ResourceName(short), pod, others, node)
		return no("OutOf"+short, "Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", short, want, used, have)
	}
	if len(node.Labels) > 0 && !fitsNode(pod, node) {
		return no("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")
	}
	for _, o := range others {
		if p, taken := portTaken(pod, o); taken {
			return no("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports (%d)", p)
		}
	}
	_, intolerable := schedule.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, pod.Spec.Tolerations, func(t *core.Taint) bool {
		return t.Effect == core.TaintEffectNoExecute
	}, true)
	if intolerable && len(pod.Annotations["kubernetes.io/config.source"]) == 0 {
		return no("TaintToleration", "Predicate TaintToleration failed: node(s) had untolerated taint(s)")
	}
	if err := r.Sysctls.check(pod); err != nil {
		return no("SysctlForbidden", "forbidden sysctl: %v", err)
	}
	if !r.AppArmor && spec.WantsAppArmor(pod) && (pod.Status.Phase == core.PodPending || pod.Status.Phase == "") {
		return no("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
	}
	return nil
}

// fitsNode checks the node selector and the required node affinity.
func fitsNode(pod *core.Pod, node *core.Node) bool {
	if !labels.SelectorFromSet(pod.Spec.NodeSelector).Matches(labels.Set(node.Labels)) {
		return false
	}
	ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	return err == nil && ok
}

func overbooked(pod *core.Pod, others []*core.Pod, node *core.Node) string {
	for name, q := range resource.PodRequests(pod, resource.PodResourcesOptions{}) {
		if _, known := node.Status.Allocatable[name]; q.IsZero() || !known && extended(name) {
			continue // nobody on this node advertises it: the scheduler has it from elsewhere
		}
		want, used, have := amounts(name, pod, others, node)
		if want > have-used {
			return string(name)
		}
	}
	return ""
}

// extended says whether a resource is none of Kubernetes' own.
func extended(name core.ResourceName) bool {
	if strings.HasPrefix(string(name), devices.ResourceDeviceClassPrefix) { // claimed by the scheduler
		return true
	}
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), "kubernetes.io/") && !strings.HasPrefix(string(name), "requests.")
}

// amounts are in thousandths of a CPU, else in the resource's unit.
func amounts(name core.ResourceName, pod *core.Pod, others []*core.Pod, node *core.Node) (want, used, have int64) {
	of := func(l core.ResourceList) int64 {
		q := l[name]
		if name == core.ResourceCPU {
			return q.MilliValue()
		}
		return q.Value()
	}
	for _, o := range others {
		used += of(resource.PodRequests(o, resource.PodResourcesOptions{}))
	}
	return of(resource.PodRequests(pod, resource.PodResourcesOptions{})), used, of(node.Status.Allocatable)
}

func portTaken(a, b *core.Pod) (int32, bool) {
	for _, p := range hostPorts(a) {
		for _, q := range hostPorts(b) {
			if p.HostPort == q.HostPort && p.Protocol == q.Protocol && (p.HostIP == q.HostIP || anyIP(p.HostIP) || anyIP(q.HostIP)) {
				return p.HostPort, true
			}
		}
	}
	return 0, false
}

func anyIP(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

func hostPorts(pod *core.Pod) []core.ContainerPort {
	var out []core.ContainerPort
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort > 0 {
				if p.Protocol == "" {
					p.Protocol = core.ProtocolTCP
				}
				out = append(out, p)
			}
		}
	}
	return out
}

// refuse ends a pod that the node does not take.
func (w *worker) refuse(no *status.Reason) {
	w.counts.refuse(no)
	w.Events.Event(w.s.Pod, core.EventTypeWarning, no.Reason, "%s", no.Message)
	w.s.End = &End{Why: &status.Reason{Reason: no.Reason, Message: "Pod was rejected: " + no.Message}, Since: time.Now()}
	w.ends.Store(true)
	w.void.Store(true)
}
