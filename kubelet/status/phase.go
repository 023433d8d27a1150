package status

import (
	"slices"

	core "k8s.io/api/core/v1"

	"proa.dev/kubelet/spec"
)

// phase sums the containers up.
//
// An init container that has not ended well keeps the pod Pending, or makes it Failed if it may not run again. Then: Pending while a
// container waits for its first start; Running while one runs or will run again; at last Succeeded if all ended with 0, else Failed. What was
// stopped so that all start anew is no reason for either of them, whatever its policy.
func phase(in Input, statuses []core.ContainerStatus) core.PodPhase {
	pod := in.Pod
	pendingInit, failedInit := initProgress(pod, statuses)
	if failedInit && !in.Resetting {
		return core.PodFailed
	}
	var n tally
	initialized := regularStarted(pod, statuses)
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; spec.Sidecar(c) {
			s := find(statuses, c.Name)
			if s != nil && s.State.Running != nil {
				n.running++
			}
			notUp := s == nil || s.State.Running != nil && (s.Started == nil || !*s.Started) ||
				s.State.Waiting != nil && s.LastTerminationState.Terminated == nil
			pendingInit = pendingInit || notUp && !initialized
		}
	}
	for i := range pod.Spec.Containers {
		n.add(pod, &pod.Spec.Containers[i], find(statuses, pod.Spec.Containers[i].Name))
	}
	switch {
	case pendingInit, n.waiting > 0:
		if in.Ending && n.running == 0 {
			return core.PodFailed // it was stopped before it ran
		}
		return core.PodPending
	case n.running > 0 && n.unknown == 0:
		return core.PodRunning
	case n.running == 0 && n.stopped > 0 && n.unknown == 0:
		switch {
		case !in.Ending && (n.restartable > 0 || in.Resetting):
			return core.PodRunning
		case n.stopped == n.succeeded:
			return core.PodSucceeded
		}
		return core.PodFailed
	}
	return core.PodPending
}

type tally struct{ unknown, running, waiting, stopped, succeeded, restartable int }

func (n *tally) add(pod *core.Pod, c *core.Container, s *core.ContainerStatus) {
	end := func(t *core.ContainerStateTerminated) {
		n.stopped++
		if t.ExitCode == 0 {
			n.succeeded++
		}
		if ShouldRestart(pod, c, t.ExitCode) || t.Reason == RestartingAllContainers {
			n.restartable++
		}
	}
	switch {
	case s == nil:
		n.unknown++
	case s.State.Running != nil:
		n.running++
	case s.State.Terminated != nil:
		end(s.State.Terminated)
	case s.State.Waiting != nil && s.LastTerminationState.Terminated != nil:
		end(s.LastTerminationState.Terminated)
	case s.State.Waiting != nil:
		n.waiting++
	default:
		n.unknown++
	}
}

// initProgress looks at the init containers that run to their end.
func initProgress(pod *core.Pod, statuses []core.ContainerStatus) (pending, failed bool) {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if spec.Sidecar(c) {
			continue
		}
		s := find(statuses, c.Name)
		var t *core.ContainerStateTerminated
		if s != nil {
			t = s.State.Terminated
			if s.State.Waiting != nil {
				t = s.LastTerminationState.Terminated
			}
		}
		switch {
		case t == nil:
			pending = true
		case t.ExitCode == 0 && s.State.Waiting != nil: // will run again in a new sandbox
			pending = true
		case t.ExitCode != 0:
			pending = true
			failed = failed || !ShouldRestart(pod, c, t.ExitCode) && t.Reason != RestartingAllContainers
		}
	}
	return pending, failed
}

func regularStarted(pod *core.Pod, statuses []core.ContainerStatus) bool {
	for i := range pod.Spec.Containers {
		s := find(statuses, pod.Spec.Containers[i].Name)
		if s != nil && (s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil) {
			return true
		}
	}
	return false
}

// RestartingAllContainers is the reason of containers that were removed so that all containers of their pod start anew.
const RestartingAllContainers = "RestartingAllContainers"

// ruleFor is the first restart rule of a container for this exit code; nil if there is none.
func ruleFor(c *core.Container, code int32) *core.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		r := &c.RestartPolicyRules[i]
		if r.ExitCodes == nil {
			continue
		}
		if in := slices.Contains(r.ExitCodes.Values, code); in == (r.ExitCodes.Operator == core.ContainerRestartRuleOnExitCodesOpIn) {
			return r
		}
	}
	return nil
}

// RestartsAll says whether the end of a container with this code has all containers of its pod start anew (KEP-5532).
func RestartsAll(c *core.Container, code int32) bool {
	r := ruleFor(c, code)
	return c.RestartPolicy != nil && r != nil && r.Action == core.ContainerRestartRuleActionRestartAllContainers
}

// MayRestartAll says whether any container of a pod has a rule for that.
func MayRestartAll(pod *core.Pod) bool {
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, r := range list[i].RestartPolicyRules {
				if r.Action == core.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

// ShouldRestart says whether a container that ended with this code runs again: by its own rules and policy if it has any, else by
// the pod's policy (KEP-5307).
func ShouldRestart(pod *core.Pod, c *core.Container, code int32) bool {
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		if ruleFor(c, code) != nil { // both actions start it again
			return true
		}
		policy = core.RestartPolicy(*c.RestartPolicy)
	} else if policy == core.RestartPolicyAlways && isInit(pod, c) {
		policy = core.RestartPolicyOnFailure // an init container that ended well is done
	}
	switch policy {
	case core.RestartPolicyNever:
		return false
	case core.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

func isInit(pod *core.Pod, c *core.Container) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(i core.Container) bool { return i.Name == c.Name })
}
