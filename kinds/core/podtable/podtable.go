package podtable

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds"
)

// Columns are the heads of a table of pods.
var Columns = kinds.Described(kinds.Columns("Name", "Ready", "Status", "Restarts", "Age", "IP+", "Node+", "Nominated Node+", "Readiness Gates+"),
	"The aggregate readiness state of this pod for accepting traffic.", "The aggregate status of the containers in this pod.",
	"The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
	core.PodStatus{}.SwaggerDoc()["podIP"], core.PodSpec{}.SwaggerDoc()["nodeName"], core.PodStatus{}.SwaggerDoc()["nominatedNodeName"],
	core.PodSpec{}.SwaggerDoc()["readinessGates"])

// Row is what a table shows of a pod at now.
func Row(p *core.Pod, now time.Time) []any {
	s := summarise(p)
	restarts := strconv.Itoa(s.restarts)
	if s.restarts != 0 && !s.restarted.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, kinds.Age(s.restarted, now))
	}
	ip := ""
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return []any{
		p.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, kinds.Age(p.CreationTimestamp, now),
		cmp.Or(ip, "<none>"), cmp.Or(p.Spec.NodeName, "<none>"), cmp.Or(p.Status.NominatedNodeName, "<none>"), readinessGates(p),
	}
}

// summary is what one line says about a pod.
type summary struct {
	reason       string
	ready, total int
	restarts     int
	restarted    metav1.Time // the last restart
}

func (s *summary) count(c *core.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && s.restarted.Before(&t.FinishedAt) {
		s.restarted = t.FinishedAt
	}
}

// summarise tells a pod's state in one word, as kubectl get prints it: the phase, unless a container has something more telling
// to say.
func summarise(p *core.Pod) summary {
	s := summary{reason: cmp.Or(p.Status.Reason, string(p.Status.Phase)), total: len(p.Spec.Containers)}
	for _, c := range p.Status.Conditions {
		if c.Type == core.PodScheduled && c.Reason == core.PodReasonSchedulingGated {
			s.reason = core.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			s.total++
		}
	}
	var side summary // of sidecars only: once the pod has started, restarts of plain init containers no longer count
	initialising := s.initContainers(p, sidecars, &side)
	if !initialising || conditionTrue(p, core.PodInitialized) {
		s.restarts, s.restarted = side.restarts, side.restarted
		s.containers(p)
	}
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == "NodeLost":
		s.reason = "Unknown"
	case p.Status.Phase != core.PodSucceeded && p.Status.Phase != core.PodFailed:
		s.reason = "Terminating"
	}
	return s
}

// initContainers says whether an init container is yet to finish; that one's state is the reason then.
func (s *summary) initContainers(p *core.Pod, sidecars map[string]bool, side *summary) bool {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.count(c)
		if sidecars[c.Name] {
			side.count(c)
		}
		t := c.State.Terminated
		switch {
		case t != nil && t.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case t != nil:
			s.reason = "Init:" + exitReason(t)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.reason = "Init:" + c.State.Waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true
	}
	return false
}

func (s *summary) containers(p *core.Pod) {
	running, failure := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.count(c)
		switch t := c.State.Terminated; {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case t != nil:
			s.reason = exitReason(t)
			if t.ExitCode != 0 {
				failure = s.reason
			}
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason != "Completed" {
		return
	}
	switch { // one container has completed, others may not have
	case running && conditionTrue(p, core.PodReady):
		s.reason = "Running"
	case failure != "":
		s.reason = failure
	case running:
		s.reason = "NotReady"
	}
}

func exitReason(t *core.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func conditionTrue(p *core.Pod, t core.PodConditionType) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status == core.ConditionTrue
		}
	}
	return false
}

func readinessGates(p *core.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	n := 0
	for _, g := range p.Spec.ReadinessGates {
		if conditionTrue(p, g.ConditionType) {
			n++
		}
	}
	return fmt.Sprintf("%d/%d", n, len(p.Spec.ReadinessGates))
}
