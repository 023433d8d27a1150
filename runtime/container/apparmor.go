package container

import (
	"errors"
	"fmt"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/apparmor"
)

// What the older of CRI's two fields for AppArmor says.
const (
	oldDefault    = "runtime/default"
	oldUnconfined = "unconfined"
	localPrefix   = "localhost/"
)

// appArmor is the name of the profile that a container's programs get; "" is none. A container that asks for nothing gets the default
// profile, where there is AppArmor, unless it is privileged.
func appArmor(in Input) (string, error) {
	sc := in.Config.GetLinux().GetSecurityContext()
	p, err := askedAppArmor(sc)
	if err != nil {
		return "", err
	}
	asked := p != nil && p.ProfileType != runtimeapi.SecurityProfile_Unconfined
	switch {
	case !in.AppArmor.Enabled() && asked:
		return "", errors.New("apparmor is not supported: the kernel of this host has none")
	case !in.AppArmor.Enabled() || p != nil && !asked:
		return "", nil
	case p == nil || p.ProfileType == runtimeapi.SecurityProfile_RuntimeDefault:
		if sc.GetPrivileged() {
			return "", nil
		}
		err := in.AppArmor.LoadDefault()
		if err != nil && p == nil {
			return "", nil // within a container that may not load profiles; nobody asked for it
		}
		return apparmor.Default, err
	}
	name := strings.TrimPrefix(p.LocalhostRef, localPrefix)
	ok, err := in.AppArmor.Has(name)
	if err == nil && !ok {
		err = fmt.Errorf("apparmor profile not found %s", name)
	}
	return name, err
}

// askedAppArmor is the profile that either of CRI's fields asks for; nil: none does.
func askedAppArmor(sc *runtimeapi.LinuxContainerSecurityContext) (*runtimeapi.SecurityProfile, error) {
	if p := sc.GetApparmor(); p != nil {
		return p, nil
	}
	old := sc.GetApparmorProfile() // of clients that are older than its successor
	p := &runtimeapi.SecurityProfile{}
	switch {
	case old == "":
		return nil, nil
	case old == oldDefault:
		p.ProfileType = runtimeapi.SecurityProfile_RuntimeDefault
	case old == oldUnconfined:
		p.ProfileType = runtimeapi.SecurityProfile_Unconfined
	case strings.HasPrefix(old, localPrefix):
		p.ProfileType, p.LocalhostRef = runtimeapi.SecurityProfile_Localhost, old
	default:
		return nil, fmt.Errorf("invalid apparmor profile %q", old)
	}
	return p, nil
}
