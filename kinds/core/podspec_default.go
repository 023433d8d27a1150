package core

import (
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/core/resources"
)

// DefaultPodTemplate fills what the author of a pod template left out. Pods get more: see DefaultPod.
func DefaultPodTemplate(t *core.PodTemplateSpec) { DefaultPodSpec(&t.Spec) }

// DefaultPodSpec fills a pod spec, the same in pods and in templates. What is filled here shows in every template, so a new
// default here looks like a changed template to the controllers: new ones belong into defaultPod.
func DefaultPodSpec(s *core.PodSpec) {
	orElse(&s.DNSPolicy, core.DNSClusterFirst)
	orElse(&s.RestartPolicy, core.RestartPolicyAlways)
	orElse(&s.SchedulerName, core.DefaultSchedulerName)
	orPtr(&s.TerminationGracePeriodSeconds, core.DefaultTerminationGracePeriodSeconds)
	if s.SecurityContext == nil {
		s.SecurityContext = &core.PodSecurityContext{}
	}
	orElse(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		defaultContainer((*core.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
	resources.RoundUp(s.Overhead)
	if s.Resources != nil {
		defaultResources(s.Resources)
	}
}

func defaultContainer(c *core.Container) {
	orElse(&c.ImagePullPolicy, pullPolicy(c.Image))
	orElse(&c.TerminationMessagePath, core.TerminationMessagePathDefault)
	orElse(&c.TerminationMessagePolicy, core.TerminationMessageReadFile)
	for i := range c.Ports {
		orElse(&c.Ports[i].Protocol, core.ProtocolTCP)
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		if from.FieldRef != nil {
			orElse(&from.FieldRef.APIVersion, "v1")
		}
		if from.FileKeyRef != nil {
			orPtr(&from.FileKeyRef.Optional, false)
		}
	}
	defaultResources(&c.Resources)
	defaultProbe(c.LivenessProbe)
	defaultProbe(c.ReadinessProbe)
	defaultProbe(c.StartupProbe)
	if c.Lifecycle != nil {
		defaultHook(c.Lifecycle.PostStart)
		defaultHook(c.Lifecycle.PreStop)
	}
}

func defaultProbe(p *core.Probe) {
	if p == nil {
		return
	}
	orElse(&p.TimeoutSeconds, 1)
	orElse(&p.PeriodSeconds, 10)
	orElse(&p.SuccessThreshold, 1)
	orElse(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		orPtr(&p.GRPC.Service, "")
	}
}

func defaultHook(h *core.LifecycleHandler) {
	if h != nil {
		defaultHTTPGet(h.HTTPGet)
	}
}

func defaultHTTPGet(a *core.HTTPGetAction) {
	if a == nil {
		return
	}
	orElse(&a.Path, "/")
	orElse(&a.Scheme, core.URISchemeHTTP)
}

func defaultResources(r *core.ResourceRequirements) {
	resources.RoundUp(r.Limits)
	resources.RoundUp(r.Requests)
}

// pullPolicy is Always for images that are tagged latest or not at all, else IfNotPresent. A reference with a digest and without a
// tag is not "latest".
func pullPolicy(image string) core.PullPolicy {
	if path := image[strings.LastIndexByte(image, '/')+1:]; strings.IndexFunc(strings.SplitN(path, ":", 2)[0], func(r rune) bool {
		return r >= 'A' && r <= 'Z' || r == ' '
	}) >= 0 {
		return core.PullIfNotPresent // no reference at all: it has no tag
	}
	name, _, digest := strings.Cut(image, "@")
	tag := ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		tag = name[i+1:]
	}
	if tag == "latest" || tag == "" && !digest && image != "" {
		return core.PullAlways
	}
	return core.PullIfNotPresent
}

// orElse sets *p to v where it is the zero value.
func orElse[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// orPtr sets *p to a pointer to v where it is nil.
func orPtr[T any](p **T, v T) {
	if *p == nil {
		*p = ptr.To(v)
	}
}
