package core

import (
	"fmt"
	"regexp"
	"strings"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// operatingSystem checks that a pod asks for nothing that its operating system does not have.
func (c *podCheck) operatingSystem(p *field.Path) {
	os := c.spec.OS
	switch {
	case os == nil:
	case os.Name == "":
		c.Required(p.Child("os", "name"), "")
	case os.Name == core.Linux:
		c.noWindowsOptions(p)
	case os.Name == core.Windows:
		c.noLinuxOptions(p)
	default:
		check.OneOf(c.Errors, p.Child("os"), os.Name, core.Linux, core.Windows)
	}
}

func (c *podCheck) noWindowsOptions(p *field.Path) {
	const detail = "windows options cannot be set for a linux pod"
	if s := c.spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		c.Forbidden(p.Child("securityContext", "windowsOptions"), detail)
	}
	eachContainer(c.spec, p, func(ctr *core.Container, at *field.Path) {
		if ctr.SecurityContext != nil && ctr.SecurityContext.WindowsOptions != nil {
			c.Forbidden(at.Child("securityContext", "windowsOptions"), detail)
		}
	})
}

func (c *podCheck) noLinuxOptions(p *field.Path) {
	forbid := func(p *field.Path, name string, set bool) {
		if set {
			c.Forbidden(p.Child(name), "cannot be set for a windows pod")
		}
	}
	if s := c.spec.SecurityContext; s != nil {
		at := p.Child("securityContext")
		forbid(at, "appArmorProfile", s.AppArmorProfile != nil)
		forbid(at, "seLinuxOptions", s.SELinuxOptions != nil)
		forbid(p, "hostUsers", c.spec.HostUsers != nil)
		forbid(p, "hostPID", c.spec.HostPID)
		forbid(p, "hostIPC", c.spec.HostIPC)
		forbid(at, "seccompProfile", s.SeccompProfile != nil)
		forbid(at, "fsGroup", s.FSGroup != nil)
		forbid(at, "fsGroupChangePolicy", s.FSGroupChangePolicy != nil)
		forbid(at, "sysctls", len(s.Sysctls) > 0)
		forbid(p, "shareProcessNamespace", c.spec.ShareProcessNamespace != nil)
		forbid(at, "runAsUser", s.RunAsUser != nil)
		forbid(at, "runAsGroup", s.RunAsGroup != nil)
		forbid(at, "supplementalGroups", s.SupplementalGroups != nil)
		forbid(at, "supplementalGroupsPolicy", s.SupplementalGroupsPolicy != nil)
		forbid(at, "seLinuxChangePolicy", s.SELinuxChangePolicy != nil)
	}
	eachContainer(c.spec, p, func(ctr *core.Container, at *field.Path) {
		s := ctr.SecurityContext
		if s == nil {
			return
		}
		at = at.Child("securityContext")
		forbid(at, "appArmorProfile", s.AppArmorProfile != nil)
		forbid(at, "seLinuxOptions", s.SELinuxOptions != nil)
		forbid(at, "seccompProfile", s.SeccompProfile != nil)
		forbid(at, "capabilities", s.Capabilities != nil)
		forbid(at, "readOnlyRootFilesystem", s.ReadOnlyRootFilesystem != nil)
		forbid(at, "privileged", s.Privileged != nil)
		forbid(at, "allowPrivilegeEscalation", s.AllowPrivilegeEscalation != nil)
		forbid(at, "procMount", s.ProcMount != nil)
		forbid(at, "runAsUser", s.RunAsUser != nil)
		forbid(at, "runAsGroup", s.RunAsGroup != nil)
	})
}

// hostProcess checks that either all containers are Windows host processes, in a pod on the host's network, or none.
func (c *podCheck) hostProcess(p *field.Path) {
	of := func(o *core.WindowsSecurityContextOptions) *bool {
		if o == nil {
			return nil
		}
		return o.HostProcess
	}
	var pod *bool
	if s := c.spec.SecurityContext; s != nil {
		pod = of(s.WindowsOptions)
	}
	total, host := 0, 0
	eachContainer(c.spec, p, func(ctr *core.Container, at *field.Path) {
		total++
		var own *bool
		if ctr.SecurityContext != nil {
			own = of(ctr.SecurityContext.WindowsOptions)
		}
		if pod != nil && own != nil && *pod != *own {
			c.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *own,
				fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *pod))
		}
		if own != nil && *own || own == nil && pod != nil && *pod {
			host++
		}
	})
	if host == 0 {
		return
	}
	if host != total {
		c.Invalid(p, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if !c.spec.HostNetwork {
		c.Invalid(p.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}

const maxCredentialSpec = 64 << 10

var (
	controlChars = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSName  = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	userDomain   = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	badUserChars = regexp.MustCompile(`["/\\:;|=,\+\*\?<>@\[\]]`)
	dotsOnly     = regexp.MustCompile(`^[\. ]+$`)
)

func (c *podCheck) windowsOptions(p *field.Path, o *core.WindowsSecurityContextOptions) {
	if o == nil {
		return
	}
	if n := o.GMSACredentialSpecName; n != nil {
		c.Invalids(p.Child("gmsaCredentialSpecName"), n, utilvalidation.IsDNS1123Subdomain(*n))
	}
	if s := o.GMSACredentialSpec; s != nil {
		switch {
		case *s == "":
			c.Invalid(p.Child("gmsaCredentialSpec"), s, "gmsaCredentialSpec cannot be an empty string")
		case len(*s) > maxCredentialSpec:
			c.Invalid(p.Child("gmsaCredentialSpec"), s, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", maxCredentialSpec>>10))
		}
	}
	if o.RunAsUserName == nil {
		return
	}
	name, at := *o.RunAsUserName, p.Child("runAsUserName")
	bad := func(detail string) { c.Invalid(at, o.RunAsUserName, detail) }
	domain, user, hasDomain := strings.Cut(name, `\`)
	switch {
	case name == "":
		bad("runAsUserName cannot be an empty string")
		return
	case controlChars.MatchString(name):
		bad("runAsUserName cannot contain control characters")
		return
	case strings.Contains(user, `\`):
		bad("runAsUserName cannot contain more than one backslash")
		return
	case !hasDomain:
		domain, user = "", name
	}
	if len(domain) >= 256 {
		bad("runAsUserName's Domain length must be under 256 characters")
	}
	if hasDomain && !netBIOSName.MatchString(domain) && !userDomain.MatchString(domain) {
		bad("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
	}
	if user == "" {
		bad("runAsUserName's User cannot be empty")
	} else if len(user) > 104 {
		bad("runAsUserName's User length must not be longer than 104 characters")
	}
	if dotsOnly.MatchString(user) {
		bad("runAsUserName's User cannot contain only periods or spaces")
	}
	if badUserChars.MatchString(user) {
		bad(`runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
}
