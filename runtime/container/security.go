package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/oci"
	"proa.dev/runtime/oci/seccomp"
)

// defaultCapabilities are what containers hold without a word, as everywhere since Docker.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// masked and readOnly are hidden from containers unless the pod says which paths are.
var (
	masked = []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap"}
	readOnly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// secure sets capabilities, seccomp, labels and hidden paths.
func secure(s *specs.Spec, in Input) error {
	sc := in.Config.GetLinux().GetSecurityContext()
	caps, ambient, err := capabilities(sc)
	if err != nil {
		return err
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps,
		Inheritable: ambient, Ambient: ambient}
	if s.Process.ApparmorProfile, err = appArmor(in); err != nil {
		return err
	}
	if sc.GetPrivileged() {
		return nil
	}
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = sc.GetMaskedPaths(), sc.GetReadonlyPaths()
	if len(sc.GetMaskedPaths()) == 0 && len(sc.GetReadonlyPaths()) == 0 {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = masked, readOnly
	}
	return setSeccomp(s, sc.GetSeccomp())
}

// setSeccomp picks the profile. CRI wants a container without one to be unconfined; proa's kubelet always names one.
func setSeccomp(s *specs.Spec, p *runtimeapi.SecurityProfile) error {
	if p == nil {
		return nil
	}
	switch p.ProfileType {
	case runtimeapi.SecurityProfile_Unconfined:
		return nil
	case runtimeapi.SecurityProfile_Localhost:
		data, err := os.ReadFile(p.LocalhostRef)
		if err != nil {
			return fmt.Errorf("seccomp profile: %w", err)
		}
		var profile specs.LinuxSeccomp
		if err := json.Unmarshal(data, &profile); err != nil {
			return fmt.Errorf("seccomp profile %s: %w", p.LocalhostRef, err)
		}
		s.Linux.Seccomp = &profile
		return nil
	}
	s.Linux.Seccomp = seccomp.Default(s.Process.Capabilities.Bounding)
	s.Annotations[oci.DefaultSeccomp] = "true"
	return nil
}

// capabilities applies what the pod adds and drops to the default set.
func capabilities(sc *runtimeapi.LinuxContainerSecurityContext) (all, ambient []string, err error) {
	every := heldCapabilities()
	if sc.GetPrivileged() {
		return every, nil, nil
	}
	c := sc.GetCapabilities()
	all = slices.Clone(defaultCapabilities)
	names := func(list []string) ([]string, error) {
		var out []string
		for _, name := range list {
			name = strings.ToUpper(name)
			if !strings.HasPrefix(name, "CAP_") {
				name = "CAP_" + name
			}
			if name == "CAP_ALL" {
				return every, nil
			}
			if _, ok := oci.Capability(name); !ok {
				return nil, fmt.Errorf("unknown capability %q", name)
			}
			out = append(out, name)
		}
		return out, nil
	}
	add, err := names(c.GetAddCapabilities())
	if err != nil {
		return nil, nil, err
	}
	drop, err := names(c.GetDropCapabilities())
	if err != nil {
		return nil, nil, err
	}
	if ambient, err = names(c.GetAddAmbientCapabilities()); err != nil {
		return nil, nil, err
	}
	// ALL is weaker than a name: "drop ALL, add CHOWN" leaves CHOWN, and "add ALL, drop CHOWN" all but that.
	if all, err = combine(all, every, add, drop, c); err != nil {
		return nil, nil, err
	}
	for _, name := range ambient {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all, ambient, nil
}

func combine(base, every, add, drop []string, c *runtimeapi.Capability) ([]string, error) {
	says := func(list []string) bool {
		return slices.ContainsFunc(list, func(n string) bool { return strings.EqualFold(n, "ALL") || strings.EqualFold(n, "CAP_ALL") })
	}
	switch {
	case says(c.GetAddCapabilities()):
		base = slices.Clone(every)
	case says(c.GetDropCapabilities()):
		base = nil
	}
	if !says(c.GetDropCapabilities()) {
		base = slices.DeleteFunc(base, func(n string) bool { return slices.Contains(drop, n) })
	}
	if !says(c.GetAddCapabilities()) {
		for _, n := range add {
			if !slices.Contains(base, n) {
				base = append(base, n)
			}
		}
	}
	return base, nil
}

// heldCapabilities are those that this process could give away.
func heldCapabilities() []string {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return defaultCapabilities
	}
	return oci.Capabilities(uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted))
}

// basicDevices are the nodes that every container has.
var basicDevices = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}, {Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7}, {Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9}, {Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

// devices sets the nodes in /dev and what the device cgroup allows.
func devices(s *specs.Spec, in Input) error {
	s.Linux.Resources = &specs.LinuxResources{}
	allow := func(kind, access string, major, minor int64) {
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices,
			specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access, Major: &major, Minor: &minor})
	}
	if in.Config.GetLinux().GetSecurityContext().GetPrivileged() {
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		err := hostDevices("/dev", func(path string) error {
			d, err := device(path, path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone since it was listed
			}
			s.Linux.Devices = append(s.Linux.Devices, d...)
			return err
		})
		if err != nil {
			return err
		}
		_, err = named(s, in.Config.Devices) // which may be at other places than the host's
		return err
	}
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	allow("c", "m", -1, -1) // making a node is harmless where opening it is not allowed
	allow("b", "m", -1, -1)
	s.Linux.Devices = slices.Clone(basicDevices)
	for _, d := range basicDevices {
		allow(d.Type, "rwm", d.Major, d.Minor)
	}
	allow("c", "rwm", 136, -1) // terminals of the container's devpts
	allow("c", "rwm", 5, 2)    // and their ptmx
	added, err := named(s, in.Config.Devices)
	for _, a := range added {
		allow(a.node.Type, a.access, a.node.Major, a.node.Minor)
	}
	return err
}

// permitted is a node and what may be done with it.
type permitted struct {
	node   specs.LinuxDevice
	access string
}

// named adds the nodes that a container was given by name. One that is there already gives way.
func named(s *specs.Spec, list []*runtimeapi.Device) (added []permitted, err error) {
	for _, d := range list {
		nodes, err := device(d.HostPath, d.ContainerPath)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.HostPath, err)
		}
		for _, n := range nodes {
			s.Linux.Devices = slices.DeleteFunc(s.Linux.Devices, func(o specs.LinuxDevice) bool { return o.Path == n.Path })
			s.Linux.Devices = append(s.Linux.Devices, n)
			added = append(added, permitted{n, d.Permissions})
		}
	}
	return added, nil
}

// device describes a host node as one of the container; a directory stands for all nodes in it.
func device(host, path string) ([]specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(host, &st); err != nil {
		return nil, err
	}
	d := specs.LinuxDevice{Path: path, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev))}
	mode := os.FileMode(st.Mode & 0o777)
	d.FileMode, d.UID, d.GID = &mode, &st.Uid, &st.Gid
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Type = "c"
	case unix.S_IFBLK:
		d.Type = "b"
	case unix.S_IFDIR:
		var all []specs.LinuxDevice
		err := hostDevices(host, func(p string) error {
			nodes, err := device(p, path+strings.TrimPrefix(p, host))
			all = append(all, nodes...)
			return err
		})
		return all, err
	default:
		return nil, errors.New("not a device")
	}
	return []specs.LinuxDevice{d}, nil
}

// DeviceRules are the rules of a specification in the words of the cgroup package.
func DeviceRules(s *specs.Spec) []cgroup.DeviceRule {
	number := func(n *int64) int64 {
		if n == nil {
			return -1
		}
		return *n
	}
	var rules []cgroup.DeviceRule
	for _, d := range s.Linux.Resources.Devices {
		rules = append(rules, cgroup.DeviceRule{Allow: d.Allow, Type: d.Type, Major: number(d.Major), Minor: number(d.Minor), Access: d.Access})
	}
	return rules
}
