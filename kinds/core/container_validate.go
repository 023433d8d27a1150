package core

import (
	"fmt"
	"slices"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/resources"
)

func (c *podCheck) containers(p *field.Path) {
	if len(c.spec.Containers) == 0 {
		c.Required(p, "")
		return
	}
	names := map[string]bool{}
	for i := range c.spec.Containers {
		ctr, at := &c.spec.Containers[i], p.Index(i)
		c.container(at, ctr)
		if names[ctr.Name] {
			c.Duplicate(at.Child("name"), ctr.Name)
		}
		names[ctr.Name] = true
		c.lifecycle(at.Child("lifecycle"), ctr.Lifecycle)
		c.probes(at, ctr)
		c.restartRules(at, ctr)
	}
	c.hostPortConflicts(p, c.spec.Containers)
}

func (c *podCheck) initContainers(p *field.Path) {
	names := map[string]bool{}
	for _, ctr := range c.spec.Containers {
		names[ctr.Name] = true
	}
	for i := range c.spec.InitContainers {
		ctr, at := &c.spec.InitContainers[i], p.Index(i)
		c.container(at, ctr)
		if ctr.RestartPolicy != nil {
			c.restartRules(at, ctr)
		} else if len(ctr.RestartPolicyRules) > 0 {
			c.Required(at.Child("restartPolicy"), restartRulesNeedPolicy)
		}
		if names[ctr.Name] {
			c.Duplicate(at.Child("name"), ctr.Name)
		} else if ctr.Name != "" {
			names[ctr.Name] = true
		}
		c.hostPortConflicts(p, c.spec.InitContainers[i:i+1])
		if isSidecar(ctr) {
			c.lifecycle(at.Child("lifecycle"), ctr.Lifecycle)
			c.probes(at, ctr)
			continue
		}
		c.plainInitContainer(at, ctr)
	}
}

// plainInitContainer forbids what only makes sense for containers that stay.
func (c *podCheck) plainInitContainer(at *field.Path, ctr *core.Container) {
	const only = "may not be set for init containers without restartPolicy=Always"
	if ctr.Lifecycle != nil {
		c.Forbidden(at.Child("lifecycle"), only)
	}
	if ctr.LivenessProbe != nil {
		c.Forbidden(at.Child("livenessProbe"), only)
	}
	if ctr.ReadinessProbe != nil {
		c.Forbidden(at.Child("readinessProbe"), only)
	}
	if ctr.StartupProbe != nil {
		c.Forbidden(at.Child("startupProbe"), only)
	}
	for j, r := range ctr.ResizePolicy {
		if r.RestartPolicy == core.RestartContainer {
			c.Invalid(at.Child("resizePolicy").Index(j).Child("restartPolicy"), r.RestartPolicy,
				"must not be set to 'RestartContainer' for non-sidecar initContainers")
		}
	}
}

func isSidecar(c *core.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways
}

func (c *podCheck) ephemeralContainers(p *field.Path) {
	if len(c.spec.EphemeralContainers) == 0 {
		return
	}
	others, names := map[string]bool{}, map[string]bool{}
	for _, list := range [][]core.Container{c.spec.Containers, c.spec.InitContainers} {
		for _, ctr := range list {
			others[ctr.Name], names[ctr.Name] = true, true
		}
	}
	for i := range c.spec.EphemeralContainers {
		ec, at := &c.spec.EphemeralContainers[i], p.Index(i)
		ctr := (*core.Container)(&ec.EphemeralContainerCommon)
		c.container(at, ctr)
		imageSpaces(c.Errors, at, ctr.Image)
		if names[ec.Name] {
			c.Duplicate(at.Child("name"), ec.Name)
		}
		names[ec.Name] = true
		if t := ec.TargetContainerName; t != "" && !others[t] {
			c.NotFound(at.Child("targetContainerName"), t)
		}
		c.onlyForEphemeral(at, ctr)
	}
}

// onlyForEphemeral forbids what an ephemeral container cannot have.
func (c *podCheck) onlyForEphemeral(at *field.Path, ctr *core.Container) {
	const detail = "cannot be set for an Ephemeral Container"
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"ports", ctr.Ports != nil},
		{"resources", len(ctr.Resources.Limits)+len(ctr.Resources.Requests)+len(ctr.Resources.Claims) > 0},
		{"resizePolicy", ctr.ResizePolicy != nil},
		{"restartPolicy", ctr.RestartPolicy != nil},
		{"restartPolicyRules", ctr.RestartPolicyRules != nil},
		{"livenessProbe", ctr.LivenessProbe != nil},
		{"readinessProbe", ctr.ReadinessProbe != nil},
		{"startupProbe", ctr.StartupProbe != nil},
		{"lifecycle", ctr.Lifecycle != nil},
	} {
		if f.set {
			c.Forbidden(at.Child(f.name), detail)
		}
	}
	for i, m := range ctr.VolumeMounts {
		if m.SubPath != "" {
			c.Forbidden(at.Child("volumeMounts").Index(i).Child("subPath"), detail)
		}
		if m.SubPathExpr != "" {
			c.Forbidden(at.Child("volumeMounts").Index(i).Child("subPathExpr"), detail)
		}
	}
}

// container checks what all three sorts of containers have in common.
func (c *podCheck) container(p *field.Path, ctr *core.Container) {
	if ctr.Name == "" {
		c.Required(p.Child("name"), "")
	} else {
		c.Label(p.Child("name"), ctr.Name)
	}
	if ctr.Image == "" {
		c.Required(p.Child("image"), "")
	}
	check.OneOfRequired(c.Errors, p.Child("terminationMessagePolicy"), ctr.TerminationMessagePolicy,
		core.TerminationMessageReadFile, core.TerminationMessageFallbackToLogsOnError)
	c.ports(p.Child("ports"), ctr.Ports)
	c.env(p.Child("env"), ctr.Env)
	c.envFrom(p.Child("envFrom"), ctr.EnvFrom)
	c.mounts(p.Child("volumeMounts"), ctr)
	c.devices(p.Child("volumeDevices"), ctr)
	validatePullPolicy(c.Errors, p.Child("imagePullPolicy"), ctr.ImagePullPolicy)
	c.requirements(p.Child("resources"), &ctr.Resources, resources.OfContainer)
	c.resizePolicy(p.Child("resizePolicy"), ctr.ResizePolicy)
	c.security(p.Child("securityContext"), ctr.SecurityContext)
}

func validatePullPolicy(e *check.Errors, p *field.Path, v core.PullPolicy) {
	check.OneOfRequired(e, p, v, core.PullAlways, core.PullIfNotPresent, core.PullNever)
}

var protocols = []core.Protocol{core.ProtocolSCTP, core.ProtocolTCP, core.ProtocolUDP}

func (c *podCheck) ports(p *field.Path, ports []core.ContainerPort) {
	names := map[string]bool{}
	for i, port := range ports {
		at := p.Index(i)
		if port.Name != "" {
			if msgs := utilvalidation.IsValidPortName(port.Name); len(msgs) > 0 {
				c.Invalids(at.Child("name"), port.Name, msgs)
			} else if names[port.Name] {
				c.Duplicate(at.Child("name"), port.Name)
			} else {
				names[port.Name] = true
			}
		}
		if port.ContainerPort == 0 {
			c.Required(at.Child("containerPort"), "")
		} else {
			c.Port(at.Child("containerPort"), port.ContainerPort)
		}
		if port.HostPort != 0 {
			c.Port(at.Child("hostPort"), port.HostPort)
		}
		check.OneOfRequired(c.Errors, at.Child("protocol"), port.Protocol, protocols...)
	}
}

// hostPortConflicts finds host ports that two containers of list want.
func (c *podCheck) hostPortConflicts(p *field.Path, list []core.Container) {
	taken := map[string]bool{}
	for i, ctr := range list {
		for j, port := range ctr.Ports {
			if port.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
			if taken[key] {
				c.Duplicate(p.Index(i).Child("ports").Index(j).Child("hostPort"), key)
			}
			taken[key] = true
		}
	}
}

func (c *podCheck) resizePolicy(p *field.Path, list []core.ContainerResizePolicy) {
	seen := map[core.ResourceName]bool{}
	for i, r := range list {
		if seen[r.ResourceName] {
			c.Duplicate(p.Index(i), r.ResourceName)
		}
		seen[r.ResourceName] = true
		check.OneOfRequired(c.Errors, p, r.ResourceName, core.ResourceCPU, core.ResourceMemory)
		check.OneOfRequired(c.Errors, p, r.RestartPolicy, core.NotRequired, core.RestartContainer)
		if c.spec.RestartPolicy == core.RestartPolicyNever && r.RestartPolicy != core.NotRequired {
			c.Invalid(p, r.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

// Limits of a container's own restart rules (KEP-5307).
const (
	maxRestartRules = 20
	maxExitCodes    = 255
)

const restartRulesNeedPolicy = "must specify restartPolicy when restart rules are used"

func (c *podCheck) restartRules(p *field.Path, ctr *core.Container) {
	rules := ctr.RestartPolicyRules
	if ctr.RestartPolicy == nil {
		if len(rules) == 0 {
			return
		}
		c.Required(p.Child("restartPolicy"), restartRulesNeedPolicy)
	} else {
		check.OneOf(c.Errors, p.Child("restartPolicy"), *ctr.RestartPolicy,
			core.ContainerRestartPolicyAlways, core.ContainerRestartPolicyNever, core.ContainerRestartPolicyOnFailure)
	}
	if len(rules) > maxRestartRules {
		c.Add(field.TooMany(p.Child("restartPolicyRules"), len(rules), maxRestartRules))
	}
	for i, r := range rules {
		at := p.Child("restartPolicyRules").Index(i)
		check.OneOf(c.Errors, at.Child("action"), r.Action,
			core.ContainerRestartRuleActionRestart, core.ContainerRestartRuleActionRestartAllContainers)
		if r.ExitCodes == nil {
			c.Required(at.Child("exitCodes"), "must be specified")
			continue
		}
		check.OneOf(c.Errors, at.Child("exitCodes", "operator"), r.ExitCodes.Operator,
			core.ContainerRestartRuleOnExitCodesOpIn, core.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(r.ExitCodes.Values); n > maxExitCodes {
			c.Add(field.TooMany(at.Child("exitCodes", "values"), n, maxExitCodes))
		}
	}
}

func hasContainer(s *core.PodSpec, name string) bool {
	is := func(c core.Container) bool { return c.Name == name }
	return slices.ContainsFunc(s.Containers, is) || slices.ContainsFunc(s.InitContainers, is) ||
		slices.ContainsFunc(s.EphemeralContainers, func(c core.EphemeralContainer) bool { return c.Name == name })
}
