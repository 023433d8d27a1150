package core

import (
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"proa.dev/kinds/check"
	"proa.dev/object"
)

func validatePodStatus(p, old *core.Pod) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		annotationChanges(e, metaPath.Child("annotations"), p.Annotations, old.Annotations)
		podAnnotations(e, metaPath.Child("annotations"), p.Annotations, &p.Spec)
		s, was := &p.Status, &old.Status
		for i, c := range s.Conditions {
			if c.ObservedGeneration < 0 {
				e.Invalid(statusPath.Child("conditions").Index(i).Child("observedGeneration"), c.ObservedGeneration, "must be a non-negative integer")
			}
			if c.Type != core.PodScheduled && c.Type != core.PodReady && c.Type != core.PodInitialized {
				e.QualifiedName(statusPath.Child("conditions").Index(i).Child("Type"), string(c.Type))
			}
		}
		if n := s.NominatedNodeName; n != was.NominatedNodeName && n != "" {
			e.Subdomain(statusPath.Child("nominatedNodeName"), n)
			if old.Spec.NodeName != "" {
				e.Forbidden(statusPath.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node")
			}
		}
		if s.ObservedGeneration < 0 {
			e.Invalid(statusPath.Child("observedGeneration"), s.ObservedGeneration, "must be a non-negative integer")
		}
		e.Immutable(statusPath.Child("qosClass"), s.QOSClass, was.QOSClass)
		restarts(e, &old.Spec, s, was)
		claimStatuses(e, statusPath.Child("resourceClaimStatuses"), &p.Spec, s.ResourceClaimStatuses)
		extendedStatus(e, statusPath.Child("extendedResourceClaimStatus"), &p.Spec, s.ExtendedResourceClaimStatus)
		podIPs(e, s, was)
		hostIPs(e, s, was)
		containerStatuses(e, p)
	})
}

// containerStatuses checks who containers run as, and what has been allocated to them.
func containerStatuses(e *check.Errors, p *core.Pod) {
	s, init, main, brief := &p.Status, statusPath.Child("initContainerStatuses"), statusPath.Child("containerStatuses"), statusPath.Child("ephemeralContainerStatuses")
	containerUsers(e, main, s.ContainerStatuses, p.Spec.OS)
	containerUsers(e, init, s.InitContainerStatuses, p.Spec.OS)
	containerUsers(e, brief, s.EphemeralContainerStatuses, p.Spec.OS)
	allocatedStatus(e, main, s.ContainerStatuses, p.Spec.Containers)
	allocatedStatus(e, init, s.InitContainerStatuses, p.Spec.InitContainers)
	for i, c := range s.EphemeralContainerStatuses {
		if len(c.AllocatedResourcesStatus) > 0 {
			e.Forbidden(brief.Index(i).Child("allocatedResourcesStatus"), "must not be specified in container status")
		}
	}
}

func containerUsers(e *check.Errors, p *field.Path, list []core.ContainerStatus, os *core.PodOS) {
	for i, c := range list {
		if c.User == nil || c.User.Linux == nil {
			continue
		}
		at, u := p.Index(i).Child("user", "linux"), c.User.Linux
		if os != nil && os.Name == core.Windows {
			e.Forbidden(at, "cannot be set for a windows pod")
			continue
		}
		e.Invalids(at.Child("uid"), u.UID, utilvalidation.IsValidUserID(u.UID))
		e.Invalids(at.Child("gid"), u.GID, utilvalidation.IsValidGroupID(u.GID))
		for j, g := range u.SupplementalGroups {
			e.Invalids(at.Child("supplementalGroups").Index(j), g, utilvalidation.IsValidGroupID(g))
		}
	}
}

// allocatedStatus wants the health of what a container has asked for, and of each device once (KEP-4680).
func allocatedStatus(e *check.Errors, p *field.Path, list []core.ContainerStatus, spec []core.Container) {
	for i, s := range list {
		which := slices.IndexFunc(spec, func(c core.Container) bool { return c.Name == s.Name })
		for j, r := range s.AllocatedResourcesStatus {
			at := p.Index(i).Child("allocatedResourcesStatus").Index(j)
			if which >= 0 {
				askedFor(e, at.Child("name"), &spec[which].Resources, string(r.Name))
			}
			seen := map[core.ResourceID]bool{}
			for k, h := range r.Resources {
				at := at.Child("resources").Index(k)
				check.OneOf(e, at.Child("health"), h.Health, core.ResourceHealthStatusHealthy, core.ResourceHealthStatusUnhealthy, core.ResourceHealthStatusUnknown)
				switch m := h.Message; {
				case m == nil:
				case *m == "":
					e.Required(at.Child("message"), "must be non-empty if specified")
				case len(*m) > core.ResourceHealthMessageMaxLength:
					e.Add(field.TooLong(at.Child("message"), *m, core.ResourceHealthMessageMaxLength))
				}
				if seen[h.ResourceID] {
					e.Duplicate(at.Child("resourceID"), h.ResourceID)
				}
				seen[h.ResourceID] = true
			}
		}
	}
}

// askedFor wants name to be a resource or a claim of r.
func askedFor(e *check.Errors, p *field.Path, r *core.ResourceRequirements, name string) {
	if !strings.HasPrefix(name, "claim:") {
		if _, ok := r.Requests[core.ResourceName(name)]; !ok {
			e.Invalid(p, name, "must match one of the container's resource requests")
		}
		return
	}
	if !slices.ContainsFunc(r.Claims, func(c core.ResourceClaim) bool {
		full := "claim:" + c.Name
		if c.Request != "" {
			full += "/" + c.Request
		}
		return full == name
	}) {
		e.Invalid(p, name, "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty")
	}
}

// claimStatuses wants each status to be of a claim of the pod, once.
func claimStatuses(e *check.Errors, p *field.Path, spec *core.PodSpec, list []core.PodResourceClaimStatus) {
	seen := map[string]bool{}
	for i, s := range list {
		at := p.Index(i).Child("name")
		if !slices.ContainsFunc(spec.ResourceClaims, func(c core.PodResourceClaim) bool { return c.Name == s.Name }) {
			e.Invalid(at, s.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if seen[s.Name] {
			e.Duplicate(at, s.Name)
		}
		seen[s.Name] = true
		if n := s.ResourceClaimName; n != nil {
			e.Invalids(at, n, isSubdomain(*n))
		}
	}
}

// extendedStatus checks which claim gives the extended resources that containers ask for.
func extendedStatus(e *check.Errors, p *field.Path, spec *core.PodSpec, s *core.PodExtendedResourceClaimStatus) {
	if s == nil {
		return
	}
	if len(s.RequestMappings) == 0 {
		e.Required(p.Child("requestMappings"), "at least one request mapping is required")
	}
	seen := map[core.ContainerExtendedResourceRequest]bool{}
	for i, m := range s.RequestMappings {
		at := p.Child("requestMappings").Index(i)
		var asked core.ResourceList
		found := false
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			if c.Name == m.ContainerName {
				asked, found = c.Resources.Requests, true
			}
		}
		if _, ok := asked[core.ResourceName(m.ResourceName)]; !found {
			e.Invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name")
		} else if !ok {
			e.Invalid(at.Child("resourceName"), m.ResourceName, "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")
		}
		e.Label(p.Child("requestName"), m.RequestName)
		if seen[m] {
			e.Duplicate(at.Child("containerName"), m.ContainerName)
			e.Duplicate(at.Child("resourceName"), m.ResourceName)
			e.Duplicate(at.Child("requestName"), m.RequestName)
		}
		seen[m] = true
	}
	if s.ResourceClaimName == "" {
		e.Required(p.Child("resourceClaimName"), "")
	} else {
		e.Subdomain(p.Child("resourceClaimName"), s.ResourceClaimName)
	}
}

// restarts checks that no container runs again that has ended for good.
func restarts(e *check.Errors, spec *core.PodSpec, s, was *core.PodStatus) {
	if !restartsAll(spec) {
		ended(e, statusPath.Child("containerStatuses"), s.ContainerStatuses, was.ContainerStatuses, func(name string, code int32) bool {
			return mayRestart(spec, spec.Containers, name, code)
		})
		ended(e, statusPath.Child("initContainerStatuses"), s.InitContainerStatuses, was.InitContainerStatuses, func(name string, code int32) bool {
			return mayRestart(spec, spec.InitContainers, name, code)
		})
	}
	ended(e, statusPath.Child("ephemeralContainerStatuses"), s.EphemeralContainerStatuses, was.EphemeralContainerStatuses,
		func(string, int32) bool { return false })
}

func ended(e *check.Errors, p *field.Path, now, old []core.ContainerStatus, mayRestart func(name string, exitCode int32) bool) {
	for i, o := range old {
		if o.State.Terminated == nil {
			continue
		}
		j := slices.IndexFunc(now, func(n core.ContainerStatus) bool { return n.Name == o.Name })
		if j >= 0 && now[j].State.Terminated == nil && !mayRestart(o.Name, o.State.Terminated.ExitCode) {
			e.Forbidden(p.Index(i).Child("state"), "may not be transitioned to non-terminated state")
		}
	}
}

// mayRestart says whether a container that ended with this code runs again: by its own rules, its own policy, or its pod's.
func mayRestart(s *core.PodSpec, list []core.Container, name string, code int32) bool {
	i := slices.IndexFunc(list, func(c core.Container) bool { return c.Name == name })
	if i < 0 {
		return false
	}
	for _, r := range list[i].RestartPolicyRules {
		if r.ExitCodes == nil {
			continue
		}
		in := slices.Contains(r.ExitCodes.Values, code)
		if in == (r.ExitCodes.Operator == core.ContainerRestartRuleOnExitCodesOpIn) {
			return r.Action == core.ContainerRestartRuleActionRestart || r.Action == core.ContainerRestartRuleActionRestartAllContainers
		}
	}
	policy := string(s.RestartPolicy)
	if list[i].RestartPolicy != nil {
		policy = string(*list[i].RestartPolicy)
	}
	return policy == string(core.RestartPolicyAlways) || policy == string(core.RestartPolicyOnFailure) && code != 0
}

// restartsAll says whether a rule of any container restarts the whole pod.
func restartsAll(s *core.PodSpec) bool {
	has := func(c core.Container) bool {
		return slices.ContainsFunc(c.RestartPolicyRules, func(r core.ContainerRestartRule) bool {
			return r.Action == core.ContainerRestartRuleActionRestartAllContainers
		})
	}
	return slices.ContainsFunc(s.Containers, has) || slices.ContainsFunc(s.InitContainers, has)
}

func podIPs(e *check.Errors, s, was *core.PodStatus) {
	var ips, old []string
	for _, ip := range s.PodIPs {
		ips = append(ips, ip.IP)
	}
	for _, ip := range was.PodIPs {
		old = append(old, ip.IP)
	}
	addresses(e, statusPath.Child("podIPs"), ips, old, s.PodIPs)
}

func hostIPs(e *check.Errors, s, was *core.PodStatus) {
	if len(s.HostIPs) == 0 {
		return
	}
	p := statusPath.Child("hostIPs")
	if s.HostIP != s.HostIPs[0].IP {
		e.Invalid(p.Index(0).Child("ip"), s.HostIPs[0].IP, "must be equal to `hostIP`")
	}
	var ips, old []string
	for _, ip := range s.HostIPs {
		ips = append(ips, ip.IP)
	}
	for _, ip := range was.HostIPs {
		old = append(old, ip.IP)
	}
	addresses(e, p, ips, old, s.HostIPs)
}

// addresses wants one address of each family at most.
func addresses(e *check.Errors, p *field.Path, ips, old []string, shown any) {
	for i, ip := range ips {
		e.IP(p.Index(i), ip, old)
	}
	if len(ips) < 2 {
		return
	}
	dual, err := netutils.IsDualStackIPStrings(ips)
	if err != nil {
		e.Add(field.InternalError(p, fmt.Errorf("failed to check for dual stack with error:%v", err)))
	}
	if !dual || len(ips) > 2 {
		e.Invalid(p, shown, "may specify no more than one IP for each IP family")
	}
}

// validateEphemeralContainers checks a write to pods/ephemeralcontainers: containers may only be added.
func validateEphemeralContainers(obj, before object.Object) field.ErrorList {
	p, old := obj.(*core.Pod), before.(*core.Pod)
	if _, ok := old.Annotations[core.MirrorPodAnnotationKey]; ok {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	errs := validatePod(p)
	return append(errs, check.Run(func(e *check.Errors) {
		at := specPath.Child("ephemeralContainers")
		for _, o := range old.Spec.EphemeralContainers {
			i := slices.IndexFunc(p.Spec.EphemeralContainers, func(c core.EphemeralContainer) bool { return c.Name == o.Name })
			switch {
			case i < 0:
				e.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", o.Name))
			case !equality.Semantic.DeepEqual(p.Spec.EphemeralContainers[i], o):
				e.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", o.Name, check.Diff(o, p.Spec.EphemeralContainers[i])))
			}
		}
	})...)
}
