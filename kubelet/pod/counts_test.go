package pod

import (
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/status"
)

func ended(name string, code int32, reason string) core.ContainerStatus {
	return core.ContainerStatus{Name: name, State: core.ContainerState{Terminated: &core.ContainerStateTerminated{ExitCode: code, Reason: reason}}}
}

func asking(cpu, memory string) *core.Pod {
	l := core.ResourceList{}
	for name, text := range map[core.ResourceName]string{core.ResourceCPU: cpu, core.ResourceMemory: memory} {
		if text != "" {
			l[name] = resource.MustParse(text)
		}
	}
	always := core.ContainerRestartPolicyAlways
	c := core.Container{Name: "c", Resources: core.ResourceRequirements{Requests: l}}
	return &core.Pod{Spec: core.PodSpec{
		InitContainers: []core.Container{{Name: "once", Resources: c.Resources}, {Name: "side", Resources: c.Resources, RestartPolicy: &always}},
		Containers:     []core.Container{c},
	}}
}

// Everything that is counted, and the lines that it makes.
func TestCounts(t *testing.T) {
	priority := int32(200_000)
	waiting := func() *pending {
		return &pending{Reason: status.Reason{Reason: core.PodReasonDeferred}, pod: &core.Pod{Spec: core.PodSpec{Priority: &priority}}, since: time.Now().Add(-7 * time.Second)}
	}
	for name, c := range map[string]struct {
		do   func(*counts)
		want []string
	}{
		"terminated": {func(c *counts) {
			before := &core.PodStatus{
				ContainerStatuses:          []core.ContainerStatus{ended("old", 1, "Error"), {Name: "new"}},
				EphemeralContainerStatuses: []core.ContainerStatus{{Name: "e"}},
			}
			now := &core.PodStatus{
				InitContainerStatuses:      []core.ContainerStatus{ended("i", 0, "Completed")},
				ContainerStatuses:          []core.ContainerStatus{ended("old", 1, "Error"), ended("new", 139, "Error")},
				EphemeralContainerStatuses: []core.ContainerStatus{{Name: "e"}},
			}
			c.terminations(before, now)
			c.terminations(now, now)
		}, []string{
			`kubelet_terminated_containers_total{container_type="container",exit_code="139",reason="Error"} 1`,
			`kubelet_terminated_containers_total{container_type="init_container",exit_code="0",reason="Completed"} 1`,
		}},
		"refused": {func(c *counts) {
			for _, reason := range []string{"OutOfcpu", "OutOfexample.com/a", "OutOfexample.com/b", "Evicted", "NodePorts", "TaintToleration", "AppArmor"} {
				c.refuse(&status.Reason{Reason: reason})
			}
		}, []string{
			`kubelet_admission_rejections_total{reason="AppArmor"} 1`, `kubelet_admission_rejections_total{reason="Evicted"} 1`, `kubelet_admission_rejections_total{reason="Other"} 2`,
			`kubelet_admission_rejections_total{reason="OutOfExtendedResources"} 2`, `kubelet_admission_rejections_total{reason="OutOfcpu"} 1`,
		}},
		"admitted": {func(c *counts) {
			c.admit(&core.Pod{})
			both := asking("1", "")
			both.Spec.Resources = &core.ResourceRequirements{Requests: core.ResourceList{core.ResourceCPU: resource.MustParse("2")}}
			c.admit(both)
			c.admit(asking("1", ""))
			c.admit(&core.Pod{Spec: core.PodSpec{Resources: both.Spec.Resources}, Status: core.PodStatus{QOSClass: core.PodQOSBurstable}})
		}, []string{
			`kubelet_pod_level_resources_admission_total{config_mode="",qos_class="besteffort"} 1`,
			`kubelet_pod_level_resources_admission_total{config_mode="container_level",qos_class="burstable"} 1`,
			`kubelet_pod_level_resources_admission_total{config_mode="pod_and_container_level",qos_class="burstable"} 1`,
			`kubelet_pod_level_resources_admission_total{config_mode="pod_level",qos_class="burstable"} 1`,
		}},
		"images": {func(c *counts) {
			c.mounts(2, 3, false)
			c.mounts(1, 1, true)
		}, []string{
			"kubelet_image_volume_requested_total 3", "kubelet_image_volume_mounted_succeed_total 3", "kubelet_image_volume_mounted_errors_total 1",
		}},
		"asked for other resources": {func(c *counts) {
			c.resized.ask(asking("1", ""), asking("2", "1Gi"))
			c.resized.ask(asking("2", "1Gi"), asking("", "1Mi"))
			c.resized.ask(asking("2", "1Gi"), asking("2000m", "1024Mi"))
		}, []string{ // of the container and of the sidecar
			`kubelet_container_requested_resizes_total{resource="cpu",requirement="requests",operation="increase"} 2`,
			`kubelet_container_requested_resizes_total{resource="cpu",requirement="requests",operation="remove"} 2`,
			`kubelet_container_requested_resizes_total{resource="memory",requirement="requests",operation="add"} 2`,
			`kubelet_container_requested_resizes_total{resource="memory",requirement="requests",operation="decrease"} 2`,
		}},
		"resized": {func(c *counts) {
			c.resized.refuse(`Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"`)
			c.resized.refuse(`Resize is infeasible for Guaranteed Pods alongside Memory Manager policy "static"`)
			c.resized.did(time.Now().Add(-1500*time.Millisecond), nil)
			p := waiting()
			c.resized.wait(p, "accepted")
			c.resized.wait(p, "terminated") // it is over already
			p = waiting()
			p.Reason.Reason = core.PodReasonInfeasible
			c.resized.wait(p, "reverted")
			c.resized.wait(nil, "reverted")
		}, []string{
			`kubelet_pod_infeasible_resizes_total{reason_detail="guaranteed_pod_cpu_manager_static_policy"} 1`,
			`kubelet_pod_infeasible_resizes_total{reason_detail="guaranteed_pod_memory_manager_static_policy"} 1`,
			`kubelet_pod_resize_duration_milliseconds_bucket{success="true",le="1000"} 0`, `kubelet_pod_resize_duration_milliseconds_bucket{success="true",le="2000"} 1`,
			`kubelet_pod_deferred_resize_duration_seconds_bucket{resolution="accepted",priority_bucket="high",le="5"} 0`,
			`kubelet_pod_deferred_resize_duration_seconds_bucket{resolution="accepted",priority_bucket="high",le="10"} 1`,
			`kubelet_pod_deferred_resize_duration_seconds_count{resolution="accepted",priority_bucket="high"} 1`,
		}},
	} {
		var counted counts
		c.do(&counted)
		var p prom.Page
		counted.page(&p)
		metric := map[string]int{} // lines by metric: no more of them than are wanted
		for line := range strings.Lines(p.String()) {
			metric[strings.SplitN(line, "{", 2)[0]]++
		}
		wanted := map[string]int{}
		for _, line := range c.want {
			if !strings.Contains(p.String(), "\n"+line+"\n") {
				t.Errorf("%s: there is no %s in\n%s", name, line, &p)
			}
			wanted[strings.SplitN(line, "{", 2)[0]]++
		}
		for m, n := range wanted {
			if !strings.HasSuffix(m, "_bucket") && strings.HasPrefix(m, "kubelet") && metric[m] > n && !strings.Contains(m, " ") {
				t.Errorf("%s: %d series of %s, want %d:\n%s", name, metric[m], m, n, &p)
			}
		}
	}
}

func TestPriorityBucket(t *testing.T) {
	for n, want := range map[int32]string{
		2_000_000_000: "system-critical", 1_999_999_999: "high", 100_000: "high", 99_999: "medium", 1: "medium", 0: "normal", -1: "low", -999: "low", -1000: "very-low",
	} {
		if got := priorityBucket(&core.Pod{Spec: core.PodSpec{Priority: &n}}); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
