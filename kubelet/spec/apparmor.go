package spec

import (
	"strings"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// AppArmor is the profile that a container asks for; nil: it does not say. The annotation, which is older, counts where the container has no
// field of its own.
func AppArmor(pod *core.Pod, c *core.Container) *core.AppArmorProfile {
	if sc := c.SecurityContext; sc != nil && sc.AppArmorProfile != nil {
		return sc.AppArmorProfile
	}
	value := pod.Annotations[core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
	switch name, local := strings.CutPrefix(value, core.DeprecatedAppArmorBetaProfileNamePrefix); {
	case local:
		return &core.AppArmorProfile{Type: core.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	case value == core.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &core.AppArmorProfile{Type: core.AppArmorProfileTypeRuntimeDefault}
	case value == core.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &core.AppArmorProfile{Type: core.AppArmorProfileTypeUnconfined}
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		return sc.AppArmorProfile
	}
	return nil
}

// WantsAppArmor says whether a pod asks to be confined. Annotations count whatever container they name.
func WantsAppArmor(pod *core.Pod) bool {
	confines := func(p *core.AppArmorProfile) bool { return p != nil && p.Type != core.AppArmorProfileTypeUnconfined }
	if sc := pod.Spec.SecurityContext; sc != nil && confines(sc.AppArmorProfile) {
		return true
	}
	for key, value := range pod.Annotations {
		if strings.HasPrefix(key, core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) && value != core.DeprecatedAppArmorBetaProfileNameUnconfined {
			return true
		}
	}
	own := func(sc *core.SecurityContext) bool { return sc != nil && confines(sc.AppArmorProfile) }
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if own(list[i].SecurityContext) {
				return true
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if own(pod.Spec.EphemeralContainers[i].SecurityContext) {
			return true
		}
	}
	return false
}

// apparmor is a profile in the words of CRI, and in its older ones, for runtimes that know no others.
func apparmor(p *core.AppArmorProfile) (*runtimeapi.SecurityProfile, string) {
	switch {
	case p == nil:
		return nil, ""
	case p.Type == core.AppArmorProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, core.DeprecatedAppArmorBetaProfileNameUnconfined
	case p.Type == core.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: *p.LocalhostProfile},
			core.DeprecatedAppArmorBetaProfileNamePrefix + *p.LocalhostProfile
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, core.DeprecatedAppArmorBetaProfileRuntimeDefault
}
