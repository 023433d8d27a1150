package status

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"

	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
)

// Reason is a reason in CamelCase and a message.
type Reason struct{ Reason, Message string }

// Probed is what the probes say of one container instance.
type Probed struct{ Started, Ready bool }

// Input is everything that a pod's status follows from.
type Input struct {
	Pod         *core.Pod
	Runtime     *observe.Pod
	RuntimeName string // "proa": the scheme of container ids
	HostIPs     []netip.Addr
	Old         *core.PodStatus // what was told last
	Now         time.Time
	// Probed gives the state of a running container by its id.
	Probed func(id string) Probed
	// Given tells how that is what a container has of the node for itself; nil: it has nothing.
	Given func(container string) []core.ResourceStatus
	// Starting are containers whose start is under way, the postStart hook included: they do not count as running yet.
	Starting map[string]bool
	// Waiting says why containers do not run although they shall.
	Waiting map[string]Reason
	// Ending: no container will be started again.
	Ending bool
	// Fail makes the phase Failed, for this reason.
	Fail *Reason
	// Applied is what a running container has of resources; nil, as a function or an answer: what the pod says.
	Applied func(id string) *core.ResourceRequirements
	// Resetting: all containers are on their way out, to start anew.
	Resetting bool
	// Resize are the conditions of a resize.
	Resize []core.PodCondition
	// RecursiveReadOnly: the runtime makes mounts read-only with all that is mounted below them.
	RecursiveReadOnly bool
	// Disrupted is a condition to show beside the kubelet's own; nil is none.
	Disrupted *core.PodCondition
}

// Generate is the status of a pod.
func Generate(in Input) core.PodStatus {
	pod, old := in.Pod, in.Old
	s := core.PodStatus{
		ObservedGeneration: pod.Generation,
		QOSClass:           spec.QOS(pod),
		StartTime:          old.StartTime,
		NominatedNodeName:  old.NominatedNodeName,
		Resize:             old.Resize,

		ResourceClaimStatuses:       old.ResourceClaimStatuses,
		ExtendedResourceClaimStatus: old.ExtendedResourceClaimStatus,
	}
	s.Resources = whole(pod)
	s.AllocatedResources = s.Resources.Requests
	if s.StartTime == nil {
		now := metav1.NewTime(in.Now.Truncate(time.Second))
		s.StartTime = &now
	}
	addresses(&s, in)
	if neverRan(in) {
		s.ContainerStatuses, s.InitContainerStatuses = old.ContainerStatuses, old.InitContainerStatuses
	} else {
		inits := len(pod.Spec.InitContainers) > 0
		s.ContainerStatuses = containers(in, pod.Spec.Containers, old.ContainerStatuses, inits, false)
		for i := range s.ContainerStatuses {
			if c := &s.ContainerStatuses[i]; in.Given != nil {
				c.AllocatedResourcesStatus = in.Given(c.Name)
			}
		}
		slices.SortFunc(s.ContainerStatuses, func(a, b core.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) })
		s.InitContainerStatuses = containers(in, pod.Spec.InitContainers, old.InitContainerStatuses, inits, true)
		var ephemeral []core.Container
		for i := range pod.Spec.EphemeralContainers {
			ephemeral = append(ephemeral, *spec.Ephemeral(&pod.Spec.EphemeralContainers[i]))
		}
		s.EphemeralContainerStatuses = containers(in, ephemeral, old.EphemeralContainerStatuses, inits, false)
	}
	settlePhase(&s, in)
	if final(s.Phase) && !neverRan(in) {
		settleContainers(&s, pod)
	}
	s.Conditions = conditions(in, &s)
	return s
}

// whole is what the pod as a whole has: what it says itself, or else the sums of its containers (KEP-5419).
func whole(pod *core.Pod) *core.ResourceRequirements {
	r := &core.ResourceRequirements{Requests: resource.PodRequests(pod, resource.PodResourcesOptions{}), Limits: resource.PodLimits(pod, resource.PodResourcesOptions{})}
	if len(r.Requests) == 0 {
		r.Requests = nil
	}
	if len(r.Limits) == 0 {
		r.Limits = nil
	}
	return r
}

// neverRan says that a pod has failed before the runtime had any container of it, so that nothing can be said of them but what was said.
// That holds after a restart, too, when only the phase tells that it was rejected.
func neverRan(in Input) bool {
	if len(in.Runtime.Containers) > 0 {
		return false
	}
	had := func(s core.ContainerStatus) bool { return s.ContainerID != "" }
	return in.Fail != nil || (final(in.Pod.Status.Phase) || final(in.Old.Phase)) &&
		!slices.ContainsFunc(in.Old.ContainerStatuses, had) && !slices.ContainsFunc(in.Old.InitContainerStatuses, had)
}

func final(p core.PodPhase) bool { return p == core.PodFailed || p == core.PodSucceeded }

func addresses(s *core.PodStatus, in Input) {
	for _, ip := range in.HostIPs {
		s.HostIPs = append(s.HostIPs, core.HostIP{IP: ip.String()})
	}
	if len(s.HostIPs) > 0 {
		s.HostIP = s.HostIPs[0].IP
	}
	ips := in.Runtime.IPs()
	if in.Pod.Spec.HostNetwork {
		ips = in.HostIPs
	}
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, core.PodIP{IP: ip.String()})
	}
	if len(s.PodIPs) == 0 {
		s.PodIPs = in.Old.PodIPs
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}

// settlePhase computes the phase and makes sure that no pod leaves a final one.
func settlePhase(s *core.PodStatus, in Input) {
	s.Phase = phase(in, append(slices.Clone(s.ContainerStatuses), s.InitContainerStatuses...))
	switch {
	case final(in.Pod.Status.Phase):
		s.Phase = in.Pod.Status.Phase
	case final(in.Old.Phase):
		s.Phase = in.Old.Phase
	case in.Fail != nil:
		s.Phase, s.Reason, s.Message = core.PodFailed, in.Fail.Reason, in.Fail.Message
		return
	}
	if s.Phase == in.Old.Phase {
		s.Reason, s.Message = in.Old.Reason, in.Old.Message
	}
	if s.Reason == "" && s.Phase == in.Pod.Status.Phase {
		s.Reason, s.Message = in.Pod.Status.Reason, in.Pod.Status.Message
	}
}
