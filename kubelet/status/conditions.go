package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kubelet/spec"
)

// owned are the conditions that the kubelet writes; all others stay as others wrote them.
var owned = []core.PodConditionType{
	core.PodReadyToStartContainers, core.PodInitialized, core.PodReady, core.ContainersReady, core.PodScheduled,
	core.PodResizePending, core.PodResizeInProgress, core.AllContainersRestarting,
}

func conditions(in Input, s *core.PodStatus) []core.PodCondition {
	all := append(slices.Clone(s.InitContainerStatuses), s.ContainerStatuses...)
	ready := containersReady(in.Pod, all, s.Phase)
	mine := []core.PodCondition{
		{Type: core.PodReadyToStartContainers, Status: truth(in.Runtime.Sandbox() != nil)},
		initialized(in.Pod, all, s.Phase),
		podReady(in.Pod, ready),
		ready,
		{Type: core.PodScheduled, Status: core.ConditionTrue},
	}
	mine = append(mine, in.Resize...)
	if MayRestartAll(in.Pod) {
		mine = append(mine, restartingAll(in, s.Phase))
	}
	if in.Disrupted != nil {
		mine = append(mine, *in.Disrupted)
	}
	for i := range mine {
		mine[i].ObservedGeneration = in.Pod.Generation
		mine[i].LastTransitionTime = changed(&mine[i], in.Old.Conditions, in.Pod.Status.Conditions, in.Now)
	}
	return merge(in.Pod.Status.Conditions, mine)
}

// merge keeps the conditions of others and sets those of the kubelet.
func merge(have, mine []core.PodCondition) []core.PodCondition {
	var out []core.PodCondition
	for _, c := range have {
		if !slices.Contains(owned, c.Type) && condition(mine, c.Type) == nil {
			out = append(out, c)
		}
	}
	return append(out, mine...)
}

func condition(list []core.PodCondition, t core.PodConditionType) *core.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}

// changed is since when c is as it is.
func changed(c *core.PodCondition, told, inAPI []core.PodCondition, now time.Time) metav1.Time {
	for _, list := range [][]core.PodCondition{told, inAPI} {
		if o := condition(list, c.Type); o != nil && o.Status == c.Status && !o.LastTransitionTime.IsZero() {
			return o.LastTransitionTime
		}
	}
	return metav1.NewTime(now.Truncate(time.Second))
}

func truth(b bool) core.ConditionStatus {
	if b {
		return core.ConditionTrue
	}
	return core.ConditionFalse
}

func containersReady(pod *core.Pod, statuses []core.ContainerStatus, phase core.PodPhase) core.PodCondition {
	c := core.PodCondition{Type: core.ContainersReady, Status: core.ConditionFalse}
	var unknown, unready []string
	look := func(name string) {
		switch s := find(statuses, name); {
		case s == nil:
			unknown = append(unknown, name)
		case !s.Ready:
			unready = append(unready, name)
		}
	}
	for i := range pod.Spec.InitContainers {
		if spec.Sidecar(&pod.Spec.InitContainers[i]) {
			look(pod.Spec.InitContainers[i].Name)
		}
	}
	for i := range pod.Spec.Containers {
		look(pod.Spec.Containers[i].Name)
	}
	switch {
	case phase == core.PodFailed:
		c.Reason = "PodFailed"
	case phase == core.PodSucceeded && len(unknown) == 0:
		c.Reason = "PodCompleted"
	case len(statuses) == 0:
		c.Reason = "UnknownContainerStatuses"
	case len(unknown)+len(unready) > 0:
		c.Reason, c.Message = "ContainersNotReady", sentence("containers with unknown status", unknown, "containers with unready status", unready)
	default:
		c.Status = core.ConditionTrue
	}
	return c
}

func sentence(a string, as []string, b string, bs []string) string {
	var parts []string
	if len(as) > 0 {
		parts = append(parts, fmt.Sprintf("%s: %s", a, as))
	}
	if len(bs) > 0 {
		parts = append(parts, fmt.Sprintf("%s: %s", b, bs))
	}
	return strings.Join(parts, ", ")
}

// podReady is ContainersReady and every readiness gate.
func podReady(pod *core.Pod, containers core.PodCondition) core.PodCondition {
	c := containers
	c.Type = core.PodReady
	if c.Status != core.ConditionTrue {
		return c
	}
	var missing []string
	for _, g := range pod.Spec.ReadinessGates {
		switch o := condition(pod.Status.Conditions, g.ConditionType); {
		case o == nil:
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType))
		case o.Status != core.ConditionTrue:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", g.ConditionType, o.Status))
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason, c.Message = core.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}

func initialized(pod *core.Pod, statuses []core.ContainerStatus, phase core.PodPhase) core.PodCondition {
	c := core.PodCondition{Type: core.PodInitialized, Status: core.ConditionTrue}
	if len(statuses) == 0 && len(pod.Spec.InitContainers) > 0 {
		c.Status, c.Reason = core.ConditionFalse, "UnknownContainerStatuses"
		return c
	}
	var unknown, incomplete []string
	for i := range pod.Spec.InitContainers {
		ic := &pod.Spec.InitContainers[i]
		switch s := find(statuses, ic.Name); {
		case s == nil:
			unknown = append(unknown, ic.Name)
		case spec.Sidecar(ic) && (s.Started == nil || !*s.Started), !spec.Sidecar(ic) && !s.Ready:
			incomplete = append(incomplete, ic.Name)
		}
	}
	switch {
	case phase == core.PodSucceeded && len(unknown) == 0:
		c.Reason = "PodCompleted"
	case regularStarted(pod, statuses):
	case len(unknown)+len(incomplete) > 0:
		c.Status, c.Reason = core.ConditionFalse, "ContainersNotInitialized"
		c.Message = sentence("containers with unknown status", unknown, "containers with incomplete status", incomplete)
	}
	return c
}

func restartingAll(in Input, phase core.PodPhase) core.PodCondition {
	c := core.PodCondition{Type: core.AllContainersRestarting, Status: core.ConditionFalse}
	switch {
	case phase == core.PodSucceeded:
		c.Reason = "PodCompleted"
	case phase == core.PodFailed:
		c.Reason = "PodFailed"
	case in.Resetting:
		c.Status, c.Reason, c.Message = core.ConditionTrue, "RestartAllContainersStarted", "container exited with restart policy rule"
	}
	return c
}
