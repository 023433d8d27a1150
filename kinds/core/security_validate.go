package core

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/volumes"
)

func (c *podCheck) podSecurity(p *field.Path) {
	s := c.spec.SecurityContext
	if s == nil {
		return
	}
	c.ids(p, s.RunAsUser, s.RunAsGroup, s.FSGroup)
	for i, g := range s.SupplementalGroups {
		c.Invalids(p.Child("supplementalGroups").Index(i), g, utilvalidation.IsValidGroupID(g))
	}
	if share := c.spec.ShareProcessNamespace; share != nil && *share && c.spec.HostPID {
		c.Invalid(p.Child("shareProcessNamespace"), *share, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	c.sysctls(p.Child("sysctls"), s.Sysctls)
	if v := s.FSGroupChangePolicy; v != nil {
		check.OneOf(c.Errors, p.Child("fsGroupChangePolicy"), *v, core.FSGroupChangeAlways, core.FSGroupChangeOnRootMismatch)
	}
	c.seccomp(p.Child("seccompProfile"), s.SeccompProfile)
	c.windowsOptions(p.Child("windowsOptions"), s.WindowsOptions)
	c.appArmor(p.Child("appArmorProfile"), s.AppArmorProfile)
	if v := s.SupplementalGroupsPolicy; v != nil {
		check.OneOf(c.Errors, p.Child("supplementalGroupsPolicy"), *v, core.SupplementalGroupsPolicyMerge, core.SupplementalGroupsPolicyStrict)
	}
	if v := s.SELinuxChangePolicy; v != nil {
		check.OneOf(c.Errors, p.Child("seLinuxChangePolicy"), *v, core.SELinuxChangePolicyMountOption, core.SELinuxChangePolicyRecursive)
	}
}

func (c *podCheck) ids(p *field.Path, user, group, fsGroup *int64) {
	if fsGroup != nil {
		c.Invalids(p.Child("fsGroup"), *fsGroup, utilvalidation.IsValidGroupID(*fsGroup))
	}
	if user != nil {
		c.Invalids(p.Child("runAsUser"), *user, utilvalidation.IsValidUserID(*user))
	}
	if group != nil {
		c.Invalids(p.Child("runAsGroup"), *group, utilvalidation.IsValidGroupID(*group))
	}
}

func (c *podCheck) security(p *field.Path, s *core.SecurityContext) {
	if s == nil {
		return
	}
	c.ids(p, s.RunAsUser, s.RunAsGroup, nil)
	if m := s.ProcMount; m != nil {
		check.OneOf(c.Errors, p.Child("procMount"), *m, core.DefaultProcMount, core.UnmaskedProcMount)
		if ownUsers := c.spec.HostUsers != nil && !*c.spec.HostUsers; *m == core.UnmaskedProcMount && !ownUsers {
			c.Invalid(p.Child("procMount"), m, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	c.seccomp(p.Child("seccompProfile"), s.SeccompProfile)
	if s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation {
		if s.Privileged != nil && *s.Privileged {
			c.Invalid(p, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
		}
		if s.Capabilities != nil {
			for _, capability := range s.Capabilities.Add {
				if capability == "CAP_SYS_ADMIN" {
					c.Invalid(p, s, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
				}
			}
		}
	}
	c.windowsOptions(p.Child("windowsOptions"), s.WindowsOptions)
	c.appArmor(p.Child("appArmorProfile"), s.AppArmorProfile)
}

func (c *podCheck) seccomp(p *field.Path, s *core.SeccompProfile) {
	if s == nil {
		return
	}
	if s.Type == "" {
		c.Required(p.Child("type"), "type is required when seccompProfile is set")
	} else {
		check.OneOf(c.Errors, p.Child("type"), s.Type,
			core.SeccompProfileTypeLocalhost, core.SeccompProfileTypeRuntimeDefault, core.SeccompProfileTypeUnconfined)
	}
	at := p.Child("localhostProfile")
	switch {
	case s.Type != core.SeccompProfileTypeLocalhost:
		if s.LocalhostProfile != nil {
			c.Invalid(at, s, "can only be set when seccomp type is Localhost")
		}
	case s.LocalhostProfile == nil:
		c.Required(at, "must be set when seccomp type is Localhost")
	default:
		volumes.DescendingPath(c.Errors, at, *s.LocalhostProfile)
	}
}

const maxProfilePath = 4095

func (c *podCheck) appArmor(p *field.Path, a *core.AppArmorProfile) {
	if a == nil {
		return
	}
	at := p.Child("localhostProfile")
	switch a.Type {
	case core.AppArmorProfileTypeLocalhost:
		switch l := a.LocalhostProfile; {
		case l == nil || *l == "":
			c.Required(at, "must be set when AppArmor type is Localhost")
		case strings.TrimSpace(*l) != *l:
			c.Invalid(at, *l, "must not be padded with whitespace")
		case len(*l) > maxProfilePath:
			c.Add(field.TooLong(at, "", maxProfilePath))
		}
	case core.AppArmorProfileTypeRuntimeDefault, core.AppArmorProfileTypeUnconfined:
		if a.LocalhostProfile != nil {
			c.Invalid(at, a.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	case "":
		c.Required(p.Child("type"), "type is required when appArmorProfile is set")
	default:
		check.OneOf(c.Errors, p.Child("type"), a.Type,
			core.AppArmorProfileTypeLocalhost, core.AppArmorProfileTypeRuntimeDefault, core.AppArmorProfileTypeUnconfined)
	}
}

const maxSysctl = 253

var sysctlName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)
})

func (c *podCheck) sysctls(p *field.Path, list []core.Sysctl) {
	seen := map[string]bool{}
	for i, s := range list {
		at := p.Index(i).Child("name")
		switch {
		case s.Name == "":
			c.Required(at, "")
		case len(s.Name) > maxSysctl || !sysctlName().MatchString(s.Name):
			c.Invalid(at, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", maxSysctl, sysctlName()))
		case seen[s.Name]:
			c.Duplicate(at, s.Name)
		}
		seen[s.Name] = true
		switch name := strings.ReplaceAll(s.Name, "/", "."); {
		case c.spec.HostNetwork && strings.HasPrefix(name, "net."):
			c.Invalid(at, s.Name, "may not be specified when 'hostNetwork' is true")
		case c.spec.HostIPC && (strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") ||
			name == "kernel.sem" || strings.HasPrefix(name, "fs.mqueue.")):
			c.Invalid(at, s.Name, "may not be specified when 'hostIPC' is true")
		}
	}
}

// profilesMatch checks that the older annotations for seccomp and AppArmor say the same as the fields, where both are there. p is the
// spec's path.
func (c *podCheck) profilesMatch(p *field.Path, annotations map[string]string) {
	if len(annotations) == 0 {
		return
	}
	s := c.spec
	if s.SecurityContext != nil && s.SecurityContext.SeccompProfile != nil {
		if v, ok := annotations[core.SeccompPodAnnotationKey]; ok {
			c.seccompMatches(p.Child("securityContext", "seccompProfile"), v, s.SecurityContext.SeccompProfile)
		}
	}
	eachContainer(s, p, func(ctr *core.Container, at *field.Path) {
		if v, ok := annotations[core.SeccompContainerAnnotationKeyPrefix+ctr.Name]; ok &&
			ctr.SecurityContext != nil && ctr.SecurityContext.SeccompProfile != nil {
			c.seccompMatches(at.Child("securityContext", "seccompProfile"), v, ctr.SecurityContext.SeccompProfile)
		}
	})
	if s.OS != nil && s.OS.Name == core.Windows {
		return
	}
	eachContainer(s, p, func(ctr *core.Container, at *field.Path) {
		v, ok := annotations[core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+ctr.Name]
		profile := appArmorOf(s, ctr)
		if ok && profile != nil {
			c.appArmorMatches(at.Child("securityContext", "appArmorProfile"), v, profile)
		}
	})
}

func appArmorOf(s *core.PodSpec, ctr *core.Container) *core.AppArmorProfile {
	if ctr.SecurityContext != nil && ctr.SecurityContext.AppArmorProfile != nil {
		return ctr.SecurityContext.AppArmorProfile
	}
	if s.SecurityContext != nil {
		return s.SecurityContext.AppArmorProfile
	}
	return nil
}

func (c *podCheck) seccompMatches(p *field.Path, v string, s *core.SeccompProfile) {
	ok := true
	switch s.Type {
	case core.SeccompProfileTypeUnconfined:
		ok = v == "unconfined"
	case core.SeccompProfileTypeRuntimeDefault:
		ok = v == core.SeccompProfileRuntimeDefault || v == core.DeprecatedSeccompProfileDockerDefault
	case core.SeccompProfileTypeLocalhost:
		local, is := strings.CutPrefix(v, core.SeccompLocalhostProfileNamePrefix)
		if ok = is; is && (s.LocalhostProfile == nil || *s.LocalhostProfile != local) {
			c.Forbidden(p.Child("localhostProfile"), "seccomp profile in annotation and field must match")
		}
	}
	if !ok {
		c.Forbidden(p.Child("type"), "seccomp type in annotation and field must match")
	}
}

func (c *podCheck) appArmorMatches(p *field.Path, v string, a *core.AppArmorProfile) {
	ok := true
	switch a.Type {
	case core.AppArmorProfileTypeUnconfined:
		ok = v == core.DeprecatedAppArmorBetaProfileNameUnconfined
	case core.AppArmorProfileTypeRuntimeDefault:
		ok = v == core.DeprecatedAppArmorBetaProfileRuntimeDefault
	case core.AppArmorProfileTypeLocalhost:
		local, is := strings.CutPrefix(v, core.DeprecatedAppArmorBetaProfileNamePrefix)
		if ok = is; is && (a.LocalhostProfile == nil || *a.LocalhostProfile != local) {
			c.Forbidden(p.Child("localhostProfile"), "apparmor profile in annotation and field must match")
		}
	}
	if !ok {
		c.Forbidden(p.Child("type"), "apparmor type in annotation and field must match")
	}
}
