package container

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/apparmor"
	"proa.dev/runtime/cdi"
	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/sandbox"
)

// Input is what a specification is made of.
type Input struct {
	Config *runtimeapi.ContainerConfig
	Pod    *runtimeapi.PodSandboxConfig
	Image  ocispec.ImageConfig
	Files  Files
	// AppArmor is the host's; nil: it has none.
	AppArmor *apparmor.Host
}

// Files are the pod's own files on the host that every container sees. An empty path leaves the image's file alone.
type Files struct {
	ResolvConf, Hostname, SHM string
}

// ociVersion is the specification's version that is asked for: an old one, because runtimes refuse what is newer than they
// know.
const ociVersion = "1.0.2"

// defaultPath is the PATH of images that set none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Spec makes the specification of a container, and says which user it runs as, in words for the container's own files.
func Spec(in Input) (*specs.Spec, wire.User, error) {
	sc := in.Config.GetLinux().GetSecurityContext()
	user, err := User(sc, in.Image.User)
	if err != nil {
		return nil, user, err
	}
	args, err := arguments(in.Config, in.Image)
	if err != nil {
		return nil, user, err
	}
	cwd := in.Config.WorkingDir
	if cwd == "" {
		cwd = in.Image.WorkingDir
	}
	if cwd == "" {
		cwd = "/"
	}
	if !strings.HasPrefix(cwd, "/") {
		cwd = "/" + cwd
	}
	s := &specs.Spec{
		Version: ociVersion,
		Process: &specs.Process{Terminal: in.Config.Tty, Args: args, Cwd: cwd, NoNewPrivileges: sc.GetNoNewPrivs(),
			Env: environment(in)},
		Root:        &specs.Root{Path: "rootfs", Readonly: sc.GetReadonlyRootfs()},
		Annotations: map[string]string{},
		Linux:       &specs.Linux{RootfsPropagation: rootPropagation(in.Config)},
	}
	if adj := in.Config.GetLinux().GetResources(); adj != nil {
		score := int(adj.OomScoreAdj)
		s.Process.OOMScoreAdj = &score
	}
	if s.Mounts, err = mounts(in); err != nil {
		return nil, user, err
	}
	if err := devices(s, in); err != nil {
		return nil, user, err
	}
	if names := in.Config.CDIDevices; len(names) > 0 {
		list := make([]string, len(names))
		for i, d := range names {
			list[i] = d.Name
		}
		groups, err := cdi.Apply(s, list)
		if err != nil {
			return nil, user, err
		}
		for _, g := range groups {
			user.Groups = append(user.Groups, uint64(g))
		}
	}
	namespaces(s, in)
	return s, user, secure(s, in)
}

// arguments are the program and its arguments: a command in the pod replaces the image's entrypoint and with it the
// image's own arguments; arguments alone replace only those.
func arguments(c *runtimeapi.ContainerConfig, image ocispec.ImageConfig) ([]string, error) {
	command, args := c.Command, c.Args
	if len(command) == 0 {
		if len(args) == 0 {
			args = image.Cmd
		}
		command = image.Entrypoint
	}
	all := append(append([]string{}, command...), args...)
	if len(all) == 0 {
		return nil, errors.New("no command specified, neither in the pod nor in the image")
	}
	return all, nil
}

// environment is the image's, then HOSTNAME, then the pod's; a name that comes again replaces the one before.
func environment(in Input) []string {
	env := &envList{at: map[string]int{}}
	env.add(defaultPath)
	if in.Config.Tty {
		env.add("TERM=xterm")
	}
	for _, kv := range in.Image.Env {
		env.add(kv)
	}
	hostname := in.Pod.GetHostname()
	if hostname == "" {
		hostname, _ = os.Hostname() // a pod on the host's network bears its name; without one there is no variable
	}
	if hostname != "" {
		env.add("HOSTNAME=" + hostname)
	}
	for _, kv := range in.Config.Envs {
		env.add(kv.Key + "=" + string(kv.Value))
	}
	return env.list
}

type envList struct {
	list []string
	at   map[string]int
}

func (e *envList) add(kv string) {
	name, _, ok := strings.Cut(kv, "=")
	if !ok || name == "" {
		return
	}
	if i, ok := e.at[name]; ok {
		e.list[i] = kv
		return
	}
	e.at[name] = len(e.list)
	e.list = append(e.list, kv)
}

// User says who a container runs as: the pod's word, else the image's.
func User(sc *runtimeapi.LinuxContainerSecurityContext, image string) (wire.User, error) {
	u := wire.User{Spec: image, NoImage: sc.GetSupplementalGroupsPolicy() == runtimeapi.SupplementalGroupsPolicy_Strict}
	switch {
	case sc.GetRunAsUser() != nil:
		u.Spec = strconv.FormatInt(sc.RunAsUser.Value, 10)
	case sc.GetRunAsUsername() != "":
		u.Spec, u.MustBeName = sc.RunAsUsername, true
	}
	if g := sc.GetRunAsGroup(); g != nil {
		if sc.GetRunAsUser() == nil && sc.GetRunAsUsername() == "" {
			return u, fmt.Errorf("group %d to run as is given without a user", g.Value)
		}
		if g.Value < 0 || g.Value >= 1<<32-1 {
			return u, fmt.Errorf("group %d to run as is out of range", g.Value)
		}
		u.HasGID, u.GID = true, uint64(g.Value)
	}
	for _, g := range sc.GetSupplementalGroups() {
		if g < 0 || g >= 1<<32-1 {
			return u, fmt.Errorf("supplemental group %d is out of range", g)
		}
		u.Groups = append(u.Groups, uint64(g))
	}
	return u, nil
}

const pidsMax = "pids.max"

// Limits turns CRI resources into the limits of a cgroup.
func Limits(r *runtimeapi.LinuxContainerResources) cgroup.Limits {
	if r == nil {
		return cgroup.Limits{}
	}
	l := cgroup.Limits{
		Memory: r.MemoryLimitInBytes, MemorySwap: r.MemorySwapLimitInBytes,
		CPUShares: r.CpuShares, CPUQuota: r.CpuQuota, CPUPeriod: r.CpuPeriod,
		Cpus: r.CpusetCpus, Mems: r.CpusetMems, Unified: r.Unified,
	}
	if n, err := strconv.ParseInt(r.Unified[pidsMax], 10, 64); err == nil { // CRI has no field for it, and v1 hosts have the limit too
		l.Pids, l.Unified = n, maps.Clone(r.Unified)
		delete(l.Unified, pidsMax)
	}
	for _, h := range r.HugepageLimits {
		if l.Hugepages == nil {
			l.Hugepages = map[string]uint64{}
		}
		l.Hugepages[h.PageSize] = h.Limit
	}
	return l
}

// namespaces lists those that a container gets of its own; the others are the pod's, in which its keeper already is.
func namespaces(s *specs.Spec, in Input) {
	s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if mode, _ := PIDMode(in.Config, in.Pod); mode == wire.PIDOwn {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if OwnCgroupNS(in.Config) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
}

// OwnCgroupNS reports whether a container sees only its own cgroup. A privileged one sees the host's.
func OwnCgroupNS(c *runtimeapi.ContainerConfig) bool {
	return !c.GetLinux().GetSecurityContext().GetPrivileged()
}

// PIDMode says which PID namespace a container gets, and for wire.PIDTarget that of which container. The host's is for
// pods that asked for it as a whole; a container alone cannot.
func PIDMode(c *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (mode uint64, target string) {
	o := c.GetLinux().GetSecurityContext().GetNamespaceOptions()
	switch o.GetPid() {
	case runtimeapi.NamespaceMode_TARGET:
		return wire.PIDTarget, o.TargetId
	case runtimeapi.NamespaceMode_NODE:
		if sandbox.HostPID(pod) {
			return wire.PIDPod, ""
		}
	case runtimeapi.NamespaceMode_POD:
		if sandbox.SharePID(pod) {
			return wire.PIDPod, ""
		}
	}
	return wire.PIDOwn, ""
}
