package status

import (
	"slices"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
)

// containers are the statuses of one of the three lists of containers.
func containers(in Input, list []core.Container, old []core.ContainerStatus, hasInit, init bool) []core.ContainerStatus {
	var out []core.ContainerStatus
	for i := range list {
		c := &list[i]
		s := container(in, c, find(old, c.Name), hasInit, init)
		readiness(in, c, &s, init)
		out = append(out, s)
	}
	return out
}

func find(list []core.ContainerStatus, name string) *core.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// container is the status of one container, without readiness.
func container(in Input, c *core.Container, old *core.ContainerStatus, hasInit, init bool) core.ContainerStatus {
	now, before := instances(in, c.Name)
	var s core.ContainerStatus
	switch {
	case now != nil:
		s = fromRuntime(in, c, now)
		if before != nil {
			s.LastTerminationState = fromRuntime(in, c, before).State
		} else if old != nil && old.ContainerID != s.ContainerID && old.State.Terminated != nil {
			s.LastTerminationState = old.State // its instance is not in the runtime any more
		} else if old != nil {
			s.LastTerminationState = old.LastTerminationState
		}
		if old != nil && now.State == observe.Unknown && old.State.Running != nil {
			s.State = core.ContainerState{Terminated: lost("The container could not be located when the pod was terminated")}
		}
	case in.Resetting && old != nil && old.State.Waiting == nil: // removed, to start anew
		const message = "The container is removed because RestartAllContainers in place"
		s = *old
		s.State = core.ContainerState{Waiting: &core.ContainerStateWaiting{Reason: RestartingAllContainers, Message: message}}
		s.LastTerminationState = core.ContainerState{Terminated: &core.ContainerStateTerminated{
			Reason: RestartingAllContainers, Message: message, ExitCode: 137,
		}}
		s.RestartCount++
	case old != nil && old.State.Terminated != nil, old != nil && reset(old):
		s = *old
	default:
		s = waiting(in, c, old, hasInit, init)
	}
	s.VolumeMounts = mounts(c, in.RecursiveReadOnly)
	why, failed := in.Waiting[c.Name]
	done := init && !spec.Sidecar(c) && now != nil && now.State == observe.Exited && now.ExitCode == 0
	if failed && !in.Ending && !done && s.State.Running == nil {
		if s.State.Terminated != nil {
			s.LastTerminationState = s.State
		}
		s.State = core.ContainerState{Waiting: &core.ContainerStateWaiting{Reason: why.Reason, Message: why.Message}}
	}
	return s
}

// instances are the container's newest instance that shows, and the one before it. One that is being started does not show yet.
func instances(in Input, name string) (now, before *observe.Container) {
	list := in.Runtime.Containers
	skip := in.Starting[name]
	for i := range list {
		if list[i].Name != name {
			continue
		}
		if skip && list[i].State != observe.Exited {
			skip = false
			continue
		}
		skip = false
		if now == nil {
			now = &list[i]
		} else {
			return now, &list[i]
		}
	}
	return now, nil
}

func fromRuntime(in Input, c *core.Container, o *observe.Container) core.ContainerStatus {
	id := in.RuntimeName + "://" + o.ID
	s := core.ContainerStatus{
		Name: c.Name, RestartCount: int32(o.Restarts), Image: o.Image, ImageID: o.ImageRef, ContainerID: id, User: o.User,
		AllocatedResources: c.Resources.Requests,
		Resources:          c.Resources.DeepCopy(),
	}
	if in.Applied != nil && o.State == observe.Running {
		if r := in.Applied(o.ID); r != nil {
			s.Resources = r.DeepCopy()
		}
	}
	if s.Image == "" {
		s.Image = c.Image
	}
	switch o.State {
	case observe.Running:
		s.State.Running = &core.ContainerStateRunning{StartedAt: metav1.NewTime(o.Started)}
	case observe.Exited:
		s.State.Terminated = &core.ContainerStateTerminated{
			ExitCode: o.ExitCode, Reason: o.Reason, Message: o.Message, StartedAt: metav1.NewTime(o.Started),
			FinishedAt: metav1.NewTime(o.Finished), ContainerID: id,
		}
	default:
		s.State.Waiting = &core.ContainerStateWaiting{}
	}
	return s
}

// reset says whether a container was removed so that all start anew, and has not started yet.
func reset(s *core.ContainerStatus) bool {
	return s.State.Waiting != nil && s.State.Waiting.Reason == RestartingAllContainers
}

// settleContainers says of containers that nobody can find, and of those that wait, that they failed, once the pod is at its end: what waits
// then will never run. Those behind an init container that did not do its part never had a turn, and go on waiting.
func settleContainers(s *core.PodStatus, pod *core.Pod) {
	all := slices.Concat(s.InitContainerStatuses, s.ContainerStatuses)
	if slices.ContainsFunc(all, func(c core.ContainerStatus) bool { return c.State.Running != nil }) {
		return // still on their way out
	}
	settle := func(c *core.ContainerStatus) {
		if c.State.Terminated == nil {
			c.State = core.ContainerState{Terminated: lost("The container could not be located when the pod was terminated")}
		}
	}
	if prepared(s, pod) {
		for i := range s.ContainerStatuses {
			settle(&s.ContainerStatuses[i])
		}
	}
	last := 0 // the first has had its turn
	for i, c := range s.InitContainerStatuses {
		if c.State.Waiting == nil || c.LastTerminationState.Terminated != nil {
			last = i
		}
	}
	for i := range s.InitContainerStatuses {
		if i <= last {
			settle(&s.InitContainerStatuses[i])
		}
	}
}

// prepared says whether the init containers had done their part.
func prepared(s *core.PodStatus, pod *core.Pod) bool {
	n := len(s.InitContainerStatuses)
	if n == 0 || slices.ContainsFunc(s.ContainerStatuses, func(c core.ContainerStatus) bool {
		return c.LastTerminationState.Terminated != nil || c.State.Waiting == nil
	}) {
		return true
	}
	well := func(state core.ContainerState) bool { return state.Terminated != nil && state.Terminated.ExitCode == 0 }
	last := s.InitContainerStatuses[n-1]
	return !spec.Sidecar(&pod.Spec.InitContainers[n-1]) && (well(last.State) || well(last.LastTerminationState))
}

// waiting is the status of a container that the runtime does not have.
func waiting(in Input, c *core.Container, old *core.ContainerStatus, hasInit, init bool) core.ContainerStatus {
	s := core.ContainerStatus{Name: c.Name, Image: c.Image}
	reason := "ContainerCreating"
	if hasInit {
		reason = "PodInitializing"
	}
	s.State.Waiting = &core.ContainerStateWaiting{Reason: reason}
	if init && !spec.Sidecar(c) && anyRegular(in) {
		s.State = core.ContainerState{Terminated: &core.ContainerStateTerminated{
			Reason:  "Completed",
			Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally",
		}}
		return s
	}
	if old == nil {
		return s
	}
	s.RestartCount, s.LastTerminationState = old.RestartCount, old.LastTerminationState
	if old.State.Running != nil && s.LastTerminationState.Terminated == nil {
		s.LastTerminationState.Terminated = lost("The container could not be located when the pod was deleted.  The container used to be Running")
		if in.Pod.DeletionTimestamp == nil {
			s.RestartCount++
		}
	}
	return s
}

func lost(message string) *core.ContainerStateTerminated {
	return &core.ContainerStateTerminated{Reason: "ContainerStatusUnknown", Message: message, ExitCode: 137}
}

func anyRegular(in Input) bool {
	for i := range in.Pod.Spec.Containers {
		if in.Runtime.Latest(in.Pod.Spec.Containers[i].Name) != nil {
			return true
		}
	}
	return false
}

func mounts(c *core.Container, recursive bool) []core.VolumeMountStatus {
	var out []core.VolumeMountStatus
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		s := core.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := core.RecursiveReadOnlyDisabled
			if all, err := spec.RecursiveReadOnly(m, recursive); err == nil && all { // an error keeps the container from starting
				mode = core.RecursiveReadOnlyEnabled
			}
			s.RecursiveReadOnly = &mode
		}
		out = append(out, s)
	}
	return out
}

// readiness sets started and ready.
func readiness(in Input, c *core.Container, s *core.ContainerStatus, init bool) {
	var p Probed
	if s.State.Running != nil {
		_, id, _ := cutID(s.ContainerID)
		p = in.Probed(id)
	}
	switch {
	case init && !spec.Sidecar(c):
		s.Ready = s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
		started := false
		s.Started = &started
	default:
		s.Started, s.Ready = &p.Started, p.Started && p.Ready
	}
}

func cutID(id string) (scheme, rest string, ok bool) {
	for i := 0; i+3 <= len(id); i++ {
		if id[i:i+3] == "://" {
			return id[:i], id[i+3:], true
		}
	}
	return "", id, false
}
