package core

import (
	"fmt"
	"math"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/resources"
)

// podCheck is the validation of one pod spec: what has been found wrong, and what its parts have to know of the whole.
type podCheck struct {
	*check.Errors
	spec    *core.PodSpec
	meta    *metav1.ObjectMeta // of the pod; nil for a template
	volumes map[string]core.VolumeSource
	claims  []string // names of resource claims
}

// ValidatePodTemplate checks a pod template that stands at p.
func ValidatePodTemplate(e *check.Errors, p *field.Path, t *core.PodTemplateSpec) {
	e.Labels(p.Child("labels"), t.Labels)
	e.Annotations(p.Child("annotations"), t.Annotations)
	podAnnotations(e, p.Child("annotations"), t.Annotations, &t.Spec)
	c := &podCheck{Errors: e, spec: &t.Spec}
	c.validate(p.Child("spec"))
	c.profilesMatch(p.Child("spec"), t.Annotations)
	if len(t.Spec.EphemeralContainers) > 0 {
		e.Forbidden(p.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
}

func (c *podCheck) validate(p *field.Path) {
	s := c.spec
	if s.TerminationGracePeriodSeconds == nil {
		c.Required(p.Child("terminationGracePeriodSeconds"), "")
	}
	c.allVolumes(p.Child("volumes"))
	c.resourceClaims(p.Child("resourceClaims"))
	c.containers(p.Child("containers"))
	c.initContainers(p.Child("initContainers"))
	c.ephemeralContainers(p.Child("ephemeralContainers"))
	c.podResources(p)
	c.hostNetworkPorts(p)
	check.OneOfRequired(c.Errors, p.Child("restartPolicy"), s.RestartPolicy,
		core.RestartPolicyAlways, core.RestartPolicyOnFailure, core.RestartPolicyNever)
	check.OneOfRequired(c.Errors, p.Child("dnsPolicy"), s.DNSPolicy,
		core.DNSClusterFirstWithHostNet, core.DNSClusterFirst, core.DNSDefault, core.DNSNone)
	c.Labels(p.Child("nodeSelector"), s.NodeSelector)
	c.podSecurity(p.Child("securityContext"))
	c.affinity(p.Child("affinity"))
	c.dnsConfig(p.Child("dnsConfig"))
	for i, g := range s.ReadinessGates {
		c.QualifiedName(p.Child("readinessGates").Index(i).Child("conditionType"), string(g.ConditionType))
	}
	c.schedulingGates(p.Child("schedulingGates"))
	c.spreadConstraints(p.Child("topologySpreadConstraints"))
	c.hostProcess(p)
	c.hostUsers(p)
	c.hostnameOverride(p)
	c.names(p)
	if len(s.Tolerations) > 0 {
		tolerations(c.Errors, p.Child("tolerations"), s.Tolerations)
	}
	for i, a := range s.HostAliases {
		c.IP(p.Child("hostAliases").Index(i).Child("ip"), a.IP, nil)
		for j, h := range a.Hostnames {
			c.Subdomain(p.Child("hostAliases").Index(i).Child("hostnames").Index(j), h)
		}
	}
	c.classes(p)
	c.operatingSystem(p)
	c.fileKeyVolumes(p)
}

// names checks the names of other objects and of hosts.
func (c *podCheck) names(p *field.Path) {
	s := c.spec
	if s.ServiceAccountName != "" {
		c.Invalids(p.Child("serviceAccountName"), s.ServiceAccountName, validation.ValidateServiceAccountName(s.ServiceAccountName, false))
	}
	if s.NodeName != "" {
		c.Subdomain(p.Child("nodeName"), s.NodeName)
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		c.Invalid(p.Child("activeDeadlineSeconds"), *d, utilvalidation.InclusiveRangeError(1, math.MaxInt32))
	}
	if s.Hostname != "" {
		c.Label(p.Child("hostname"), s.Hostname)
	}
	if s.Subdomain != "" {
		c.Label(p.Child("subdomain"), s.Subdomain)
	}
}

func (c *podCheck) classes(p *field.Path) {
	s := c.spec
	if s.PriorityClassName != "" {
		c.Subdomain(p.Child("priorityClassName"), s.PriorityClassName)
	}
	if s.RuntimeClassName != nil {
		c.Subdomain(p.Child("runtimeClassName"), *s.RuntimeClassName)
	}
	if s.PreemptionPolicy != nil {
		PreemptionPolicy(c.Errors, p.Child("preemptionPolicy"), *s.PreemptionPolicy)
	}
	if s.Overhead != nil {
		c.requirements(p.Child("overhead"), &core.ResourceRequirements{Limits: s.Overhead}, resources.OfContainer)
	}
}

// PreemptionPolicy checks the policy of a pod or a priority class.
func PreemptionPolicy(e *check.Errors, p *field.Path, v core.PreemptionPolicy) {
	check.OneOfRequired(e, p, v, core.PreemptLowerPriority, core.PreemptNever)
}

func (c *podCheck) resourceClaims(p *field.Path) {
	for i, claim := range c.spec.ResourceClaims {
		at := p.Index(i)
		switch {
		case claim.Name == "":
			c.Required(at.Child("name"), "")
		case slices.Contains(c.claims, claim.Name):
			c.Duplicate(at.Child("name"), claim.Name)
		default:
			c.Label(at.Child("name"), claim.Name)
			c.claims = append(c.claims, claim.Name)
		}
		switch {
		case claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil:
			c.Invalid(at, claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		case claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil:
			c.Invalid(at, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if n := claim.ResourceClaimName; n != nil {
			c.Subdomain(at.Child("resourceClaimName"), *n)
		}
		if n := claim.ResourceClaimTemplateName; n != nil {
			c.Subdomain(at.Child("resourceClaimTemplateName"), *n)
		}
	}
}

func (c *podCheck) hostNetworkPorts(p *field.Path) {
	if !c.spec.HostNetwork {
		return
	}
	for i, ctr := range c.spec.Containers {
		for j, port := range ctr.Ports {
			if (c.meta != nil || port.HostPort != 0) && port.HostPort != port.ContainerPort {
				c.Invalid(p.Child("containers").Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort,
					"must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

// Limits of a resolv.conf.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

func (c *podCheck) dnsConfig(p *field.Path) {
	d := c.spec.DNSConfig
	if c.spec.DNSPolicy == core.DNSNone {
		if d == nil {
			c.Required(p, "must provide `dnsConfig` when `dnsPolicy` is None")
			return
		}
		if len(d.Nameservers) == 0 {
			c.Required(p.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")
			return
		}
	}
	if d == nil {
		return
	}
	if len(d.Nameservers) > maxNameservers {
		c.Invalid(p.Child("nameservers"), d.Nameservers, fmt.Sprintf("must not have more than %v nameservers", maxNameservers))
	}
	for i, ns := range d.Nameservers {
		c.IP(p.Child("nameservers").Index(i), ns, nil)
	}
	if len(d.Searches) > maxSearches {
		c.Invalid(p.Child("searches"), d.Searches, fmt.Sprintf("must not have more than %v search paths", maxSearches))
	}
	if len(strings.Join(d.Searches, " ")) > maxSearchChars {
		c.Invalid(p.Child("searches"), d.Searches,
			fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", maxSearchChars))
	}
	for i, s := range d.Searches {
		if s != "." {
			s = strings.TrimSuffix(s, ".")
			c.Invalids(p.Child("searches").Index(i), s, utilvalidation.IsDNS1123SubdomainWithUnderscore(s))
		}
	}
	for i, o := range d.Options {
		if o.Name == "" {
			c.Required(p.Child("options").Index(i), "must not be empty")
		}
	}
}

func (c *podCheck) schedulingGates(p *field.Path) {
	seen := map[string]bool{}
	for i, g := range c.spec.SchedulingGates {
		c.QualifiedName(p.Index(i), g.Name)
		if seen[g.Name] {
			c.Duplicate(p.Index(i), g.Name)
		}
		seen[g.Name] = true
	}
}

func (c *podCheck) hostUsers(p *field.Path) {
	s := c.spec
	if s.HostUsers == nil || *s.HostUsers {
		return
	}
	if s.HostNetwork {
		c.Forbidden(p.Child("hostNetwork"), "when `hostUsers` is false")
	}
	if s.HostPID {
		c.Forbidden(p.Child("HostPID"), "when `hostUsers` is false")
	}
	if s.HostIPC {
		c.Forbidden(p.Child("HostIPC"), "when `hostUsers` is false")
	}
	eachContainer(s, p, func(ctr *core.Container, at *field.Path) {
		if len(ctr.VolumeDevices) > 0 {
			c.Forbidden(at.Child("volumeDevices"), "when `hostUsers` is false")
		}
	})
}

func (c *podCheck) hostnameOverride(p *field.Path) {
	s := c.spec
	if s.HostnameOverride == nil {
		return
	}
	at := p.Child("hostnameOverride")
	if s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN {
		c.Forbidden(at, "may not be specified when setHostnameAsFQDN is true")
	}
	if s.HostNetwork {
		c.Forbidden(at, "may not be specified when hostNetwork is true")
	}
	if len(*s.HostnameOverride) > 64 {
		c.Add(field.TooLong(at, "", 64))
	}
	c.Subdomain(at, *s.HostnameOverride)
}

func (c *podCheck) fileKeyVolumes(p *field.Path) {
	eachContainer(c.spec, p, func(ctr *core.Container, at *field.Path) {
		for j, env := range ctr.Env {
			if env.ValueFrom == nil || env.ValueFrom.FileKeyRef == nil {
				continue
			}
			name := env.ValueFrom.FileKeyRef.VolumeName
			where := at.Child("env").Index(j).Child("valueFrom").Child("fileKeyRef").Child("volumeName")
			i := slices.IndexFunc(c.spec.Volumes, func(v core.Volume) bool { return v.Name == name })
			switch {
			case i < 0:
				c.NotFound(where, name)
			case c.spec.Volumes[i].EmptyDir == nil:
				c.Invalid(where, name, "referenced volume must be of type emptyDir")
			}
		}
	})
}

// eachContainer calls f for the init containers, the containers and the ephemeral containers of a pod whose spec stands at p.
func eachContainer(s *core.PodSpec, p *field.Path, f func(c *core.Container, at *field.Path)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i], p.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		f(&s.Containers[i], p.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		f((*core.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), p.Child("ephemeralContainers").Index(i))
	}
}
