package pod

import (
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/spec"
)

// resizeCounts are what is counted of changes of resources while pods run.
type resizeCounts struct {
	asked    prom.Counts[[3]string] // resource, requests or limits, how it changes
	took     prom.Times[[1]string]  // by success
	never    prom.Counts[[1]string] // those that can not be, by why
	accepted prom.Counts[[1]string] // those that had to wait, by what made it possible
	waited   prom.Times[[2]string]  // how that ended, class of priority
}

// ask counts how the resources of a pod's containers change from one version to the next. What runs once is not resized.
func (c *resizeCounts) ask(before, now *core.Pod) {
	for i := range min(len(before.Spec.InitContainers), len(now.Spec.InitContainers)) {
		if b := &now.Spec.InitContainers[i]; spec.Sidecar(b) {
			c.container(&before.Spec.InitContainers[i], b)
		}
	}
	for i := range min(len(before.Spec.Containers), len(now.Spec.Containers)) {
		c.container(&before.Spec.Containers[i], &now.Spec.Containers[i])
	}
}

func (c *resizeCounts) container(a, b *core.Container) {
	for _, l := range []struct {
		name        string
		before, now core.ResourceList
	}{{"requests", a.Resources.Requests, b.Resources.Requests}, {"limits", a.Resources.Limits, b.Resources.Limits}} {
		c.change("memory", l.name, l.before.Memory(), l.now.Memory())
		c.change("cpu", l.name, l.before.Cpu(), l.now.Cpu())
	}
}

func (c *resizeCounts) change(of, requirement string, before, now *resource.Quantity) {
	how := ""
	switch order := now.Cmp(*before); {
	case order == 0:
		return
	case now.IsZero():
		how = "remove"
	case before.IsZero():
		how = "add"
	case order < 0:
		how = "decrease"
	default:
		how = "increase"
	}
	c.asked.Add([3]string{of, requirement, how}, 1)
}

// refuse counts a resize that what the pod has for itself of the node stands in the way of.
func (c *resizeCounts) refuse(message string) {
	why := "guaranteed_pod_memory_manager_static_policy"
	if strings.Contains(message, "CPU Manager") {
		why = "guaranteed_pod_cpu_manager_static_policy"
	}
	c.never.Add([1]string{why}, 1)
}

// did counts an attempt to make other resources true.
func (c *resizeCounts) did(began time.Time, err error) {
	c.took.Add(func() *prom.Scale {
		return prom.Milliseconds(10, 50, 100, 500, 1000, 2000, 5000, 10000, 20000, 30000, 60000, 120000, 300000, 600000)
	}, [1]string{strconv.FormatBool(err == nil)}, int64(time.Since(began).Truncate(time.Millisecond)))
}

// wait counts that a resize does not wait any more: it was "accepted", "reverted" or "terminated".
func (c *resizeCounts) wait(p *pending, how string) {
	if p == nil || p.counted || p.Reason.Reason != core.PodReasonDeferred {
		return
	}
	p.counted = true
	c.waited.Add(func() *prom.Scale {
		return prom.Seconds(5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180, 300, 600, 1200, 1800, 3600)
	}, [2]string{how, priorityBucket(p.pod)}, int64(time.Since(p.since)))
}

func (c *resizeCounts) page(p *prom.Page) {
	c.asked.Page(p, "kubelet_container_requested_resizes_total", "[ALPHA] Changes of containers' resources that were asked for.", [3]string{"resource", "requirement", "operation"})
	c.took.Page(p, "kubelet_pod_resize_duration_milliseconds", "[ALPHA] How long it took to make changed resources true.", [1]string{"success"})
	c.never.Page(p, "kubelet_pod_infeasible_resizes_total", "[ALPHA] Changes of resources that can not be.", [1]string{"reason_detail"})
	c.accepted.Page(p, "kubelet_pod_deferred_accepted_resizes_total", "[ALPHA] Changes of resources that had to wait and could be made.", [1]string{"retry_trigger"})
	c.waited.Page(p, "kubelet_pod_deferred_resize_duration_seconds", "[ALPHA] How long changes of resources had to wait.", [2]string{"resolution", "priority_bucket"})
}
