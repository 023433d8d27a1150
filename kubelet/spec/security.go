package spec

import (
	"errors"
	"fmt"
	"path/filepath"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maskedPaths and readonlyPaths are what procMount: Default hides and protects.
var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// Image is what an image says about its user.
type Image struct {
	Ref  string // what CreateContainer shall name: an id or digest
	UID  *int64 // numeric user; nil if it names one
	User string // user by name
}

// effective is the container's security context with the pod's filled in.
func effective(pod *core.Pod, c *core.Container) core.SecurityContext {
	var sc core.SecurityContext
	if c.SecurityContext != nil {
		sc = *c.SecurityContext
	}
	p := pod.Spec.SecurityContext
	if p == nil {
		return sc
	}
	if sc.RunAsUser == nil {
		sc.RunAsUser = p.RunAsUser
	}
	if sc.RunAsGroup == nil {
		sc.RunAsGroup = p.RunAsGroup
	}
	if sc.RunAsNonRoot == nil {
		sc.RunAsNonRoot = p.RunAsNonRoot
	}
	if sc.SELinuxOptions == nil {
		sc.SELinuxOptions = p.SELinuxOptions
	}
	if sc.SeccompProfile == nil {
		sc.SeccompProfile = p.SeccompProfile
	}
	return sc
}

// Security is the security context of one container.
func Security(n *Node, pod *core.Pod, c *core.Container, image Image) (*runtimeapi.LinuxContainerSecurityContext, error) {
	sc := effective(pod, c)
	if err := checkNonRoot(pod, c, &sc, image); err != nil {
		return nil, err
	}
	ns, err := namespaces(n, pod)
	if err != nil {
		return nil, err
	}
	privileged := yes(sc.Privileged)
	out := &runtimeapi.LinuxContainerSecurityContext{
		Capabilities:     capabilities(sc.Capabilities),
		Privileged:       privileged,
		ReadonlyRootfs:   yes(sc.ReadOnlyRootFilesystem),
		NoNewPrivs:       sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		NamespaceOptions: ns,
		SelinuxOptions:   selinux(sc.SELinuxOptions),
		Seccomp:          seccomp(n, sc.SeccompProfile, privileged),
		RunAsUser:        number(sc.RunAsUser),
		RunAsGroup:       number(sc.RunAsGroup),
	}
	out.Apparmor, out.ApparmorProfile = apparmor(AppArmor(pod, c))
	if sc.ProcMount == nil || *sc.ProcMount == core.DefaultProcMount {
		out.MaskedPaths, out.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	if out.RunAsUser == nil {
		out.RunAsUser, out.RunAsUsername = number(image.UID), image.User
	}
	out.SupplementalGroups, out.SupplementalGroupsPolicy, err = groups(pod)
	return out, err
}

// checkNonRoot holds runAsNonRoot against the user that the container will have.
func checkNonRoot(pod *core.Pod, c *core.Container, sc *core.SecurityContext, image Image) error {
	if !yes(sc.RunAsNonRoot) {
		return nil
	}
	where := fmt.Sprintf("(pod: %q, container: %s)", Name(pod), c.Name)
	switch {
	case sc.RunAsUser != nil && *sc.RunAsUser == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
	case sc.RunAsUser != nil:
		return nil
	case image.UID != nil && *image.UID == 0, image.UID == nil && image.User == "":
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	case image.UID == nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", image.User, where)
	}
	return nil
}

func groups(pod *core.Pod) ([]int64, runtimeapi.SupplementalGroupsPolicy, error) {
	p := pod.Spec.SecurityContext
	if p == nil {
		return nil, 0, nil
	}
	var out []int64
	if p.FSGroup != nil {
		out = append(out, *p.FSGroup)
	}
	out = append(out, p.SupplementalGroups...)
	if p.SupplementalGroupsPolicy == nil {
		return out, 0, nil
	}
	policy, ok := runtimeapi.SupplementalGroupsPolicy_value[string(*p.SupplementalGroupsPolicy)]
	if !ok {
		return nil, 0, fmt.Errorf("unsupported supplementalGroupsPolicy: %s", *p.SupplementalGroupsPolicy)
	}
	return out, runtimeapi.SupplementalGroupsPolicy(policy), nil
}

func namespaces(n *Node, pod *core.Pod) (*runtimeapi.NamespaceOption, error) {
	pick := func(host bool) runtimeapi.NamespaceMode {
		if host {
			return runtimeapi.NamespaceMode_NODE
		}
		return runtimeapi.NamespaceMode_POD
	}
	o := &runtimeapi.NamespaceOption{
		Network: pick(pod.Spec.HostNetwork), Ipc: pick(pod.Spec.HostIPC), Pid: runtimeapi.NamespaceMode_CONTAINER,
	}
	switch {
	case pod.Spec.HostPID:
		o.Pid = runtimeapi.NamespaceMode_NODE
	case yes(pod.Spec.ShareProcessNamespace):
		o.Pid = runtimeapi.NamespaceMode_POD
	}
	if pod.Spec.HostUsers == nil || *pod.Spec.HostUsers {
		return o, nil
	}
	if n.Users == nil {
		return nil, errors.New("this node gives no pod a user namespace")
	}
	var err error
	o.UsernsOptions, err = n.Users(pod)
	return o, err
}

// MapMounts shows the mounts of a container through the user namespace of its pod, if that has one.
func MapMounts(c *runtimeapi.ContainerConfig) {
	users := c.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()
	if users.GetMode() != runtimeapi.NamespaceMode_POD || users == nil {
		return
	}
	for _, m := range c.Mounts {
		m.UidMappings, m.GidMappings = users.Uids, users.Gids
	}
}

func seccomp(n *Node, p *core.SeccompProfile, privileged bool) *runtimeapi.SecurityProfile {
	out := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	switch {
	case privileged, p == nil && n.SeccompUnconfined, p != nil && p.Type == core.SeccompProfileTypeUnconfined:
		out.ProfileType = runtimeapi.SecurityProfile_Unconfined
	case p != nil && p.Type == core.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		out.ProfileType = runtimeapi.SecurityProfile_Localhost
		out.LocalhostRef = filepath.Join(n.Root, "seccomp", filepath.Clean("/"+*p.LocalhostProfile))
	}
	return out
}

func selinux(o *core.SELinuxOptions) *runtimeapi.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func capabilities(c *core.Capabilities) *runtimeapi.Capability {
	if c == nil {
		return nil
	}
	out := &runtimeapi.Capability{}
	for _, a := range c.Add {
		out.AddCapabilities = append(out.AddCapabilities, string(a))
	}
	for _, d := range c.Drop {
		out.DropCapabilities = append(out.DropCapabilities, string(d))
	}
	return out
}

func number(n *int64) *runtimeapi.Int64Value {
	if n == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *n}
}

func yes(b *bool) bool { return b != nil && *b }
