package pod

import (
	"strconv"
	"strings"
	"sync/atomic"

	core "k8s.io/api/core/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// counts are what the workers count, by Kubernetes' names. The zero value is ready.
type counts struct {
	started   prom.Counts[[1]string] // starts of containers, by type
	unstarted prom.Counts[[2]string] // those that failed: type, reason
	ended     prom.Counts[[3]string] // containers that ended: type, exit code, reason
	restarted prom.Counts[[1]string] // pods that came again while they were ending: static
	orphaned  atomic.Int64           // pods that the runtime had and nobody knew
	cleaned   atomic.Int64           // former pods whose volumes were to be removed at the start, uncleaned those of which that failed
	uncleaned atomic.Int64

	containers prom.Times[prom.None] // containers of a pod
	looks      prom.Times[[1]string] // what it took to look at a pod, by why
	begun      prom.Times[prom.None] // from the first news of a pod to the first look

	refused   prom.Counts[[1]string] // by reason
	admitted  prom.Counts[[2]string] // how resources are set, class
	preempted prom.Counts[[1]string] // by what there was too little of

	mounted struct{ asked, done, failed atomic.Int64 }

	fellBack, cutShort atomic.Int64 // hooks: https answered as http, sleeps that ended early
	resized            resizeCounts
}

// containerType is how Kubernetes names the list of a pod's spec that a field is in.
func containerType(field string) string {
	switch {
	case strings.HasPrefix(field, "spec.initContainers"):
		return "init_container"
	case strings.HasPrefix(field, "spec.ephemeralContainers"):
		return "ephemeral_container"
	}
	return "container"
}

// terminations counts the containers that have ended since the status before.
func (c *counts) terminations(before, now *core.PodStatus) {
	c.terminated("init_container", before.InitContainerStatuses, now.InitContainerStatuses)
	c.terminated("container", before.ContainerStatuses, now.ContainerStatuses)
	c.terminated("ephemeral_container", before.EphemeralContainerStatuses, now.EphemeralContainerStatuses)
}

func (c *counts) terminated(kind string, before, now []core.ContainerStatus) {
	for i := range now {
		t, known := now[i].State.Terminated, false
		for j := range before {
			known = known || before[j].Name == now[i].Name && before[j].State.Terminated != nil
		}
		if t != nil && !known {
			c.ended.Add([3]string{kind, strconv.Itoa(int(t.ExitCode)), t.Reason}, 1)
		}
	}
}

// refusals are the reasons that are counted by themselves: others may be of any number.
var refusals = map[string]bool{
	"AppArmor": true, "PodOSSelectorNodeLabelDoesNotMatch": true, "PodOSNotSupported": true, "InvalidNodeInfo": true,
	"InitContainerRestartPolicyForbidden": true, "SupplementalGroupsPolicyNotSupported": true, "UnexpectedAdmissionError": true,
	"UnknownReason": true, "UnexpectedPredicateFailureType": true, "OutOfcpu": true, "OutOfmemory": true, "OutOfephemeral-storage": true,
	"OutOfpods": true, "PodLevelResourcesNotSupported": true, "PodFeatureUnsupported": true, "Evicted": true, "SysctlForbidden": true,
	"TopologyAffinityError": true, "NodeShutdown": true, "VolumeAttachmentLimitExceeded": true,
}

func (c *counts) refuse(no *status.Reason) {
	reason := no.Reason
	switch {
	case refusals[reason]:
	case outOf(no):
		reason = "OutOfExtendedResources"
	default:
		reason = "Other"
	}
	c.refused.Add([1]string{reason}, 1)
}

func (c *counts) admit(pod *core.Pod) {
	asks := false
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			asks = asks || len(list[i].Resources.Requests) > 0 || len(list[i].Resources.Limits) > 0
		}
	}
	r, mode := pod.Spec.Resources, ""
	whole := r != nil && len(r.Requests)+len(r.Limits) > 0
	switch {
	case whole && asks:
		mode = "pod_and_container_level"
	case whole:
		mode = "pod_level"
	case asks:
		mode = "container_level"
	}
	c.admitted.Add([2]string{mode, strings.ToLower(string(spec.QOS(pod)))}, 1)
}

// take counts the containers of a pod that the node takes.
func (c *counts) take(pod *core.Pod) {
	c.containers.Add(func() *prom.Scale { return prom.Plain(1, 2, 4, 8, 16) }, prom.None{}, int64(len(pod.Spec.Containers)))
}

// mountFailed is how the error of a runtime begins that could not mount an image.
const mountFailed = "ImageVolumeMountFailed"

// mounts counts the images that a container mounts, once it is known how the attempt to create it ended.
func (c *counts) mounts(volumes, mounts int, failed bool) {
	c.mounted.asked.Add(int64(volumes))
	if failed {
		c.mounted.failed.Add(int64(mounts))
		return
	}
	c.mounted.done.Add(int64(mounts))
}

// page writes what was counted.
func (c *counts) page(p *prom.Page) {
	kind := [1]string{"container_type"}
	c.started.Page(p, "kubelet_started_containers_total", "[ALPHA] Containers whose start was tried.", kind)
	c.unstarted.Page(p, "kubelet_started_containers_errors_total", "[ALPHA] Of these, those that did not come to run, by the reason.", [2]string{kind[0], "code"})
	c.ended.Page(p, "kubelet_terminated_containers_total", "[ALPHA] Containers that ended.", [3]string{kind[0], "exit_code", "reason"})
	c.restarted.Page(p, "kubelet_restarted_pods_total", "[ALPHA] Pods that came again, with the same UID, before they had ended.", [1]string{"static"})
	p.Gauge("kubelet_orphan_pod_cleaned_volumes", "[ALPHA] Former pods whose volumes were removed when the kubelet began.", float64(c.cleaned.Load()))
	p.Gauge("kubelet_orphan_pod_cleaned_volumes_errors", "[ALPHA] Former pods of which that failed.", float64(c.uncleaned.Load()))
	p.Counter("kubelet_orphaned_runtime_pods_total", "[ALPHA] Pods that the runtime had although nobody asked for them.", c.orphaned.Load())
	c.containers.Page(p, "kubelet_containers_per_pod_count", "[ALPHA] Containers of the pods that came.", prom.None{})
	c.looks.Page(p, "kubelet_pod_worker_duration_seconds", "[ALPHA] What it took to look at a pod and begin what was to be done.", [1]string{"operation_type"})
	c.begun.Page(p, "kubelet_pod_worker_start_duration_seconds", "[ALPHA] From the first news of a pod until something was done for it.", prom.None{})
	c.refused.Page(p, "kubelet_admission_rejections_total", "[ALPHA] Pods that the node did not take.", [1]string{"reason"})
	c.admitted.Page(p, "kubelet_pod_level_resources_admission_total", "[ALPHA] Pods that the node took, by where their resources are set.", [2]string{"config_mode", "qos_class"})
	c.preempted.Page(p, "kubelet_preemptions", "[ALPHA] Pods that made room for critical ones, by what there was too little of.", [1]string{"preemption_signal"})
	p.Counter("kubelet_image_volume_requested_total", "[BETA] Images that containers asked for as volumes.", c.mounted.asked.Load())
	p.Counter("kubelet_image_volume_mounted_succeed_total", "[BETA] Mounts of these that were made.", c.mounted.done.Load())
	p.Counter("kubelet_image_volume_mounted_errors_total", "[BETA] Mounts of these that failed.", c.mounted.failed.Load())
	p.Counter("kubelet_lifecycle_handler_http_fallbacks_total", "[ALPHA] Hooks by https that were answered as http.", c.fellBack.Load())
	p.Counter("kubelet_sleep_action_terminated_early_total", "[ALPHA] Hooks that were to sleep and did not to the end.", c.cutShort.Load())
	c.resized.page(p)
}
