package node

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/kit/numbers"
)

// Machine is what the node consists of.
type Machine struct {
	CPUs    int
	Memory  int64 // bytes
	Disk    int64 // bytes of the file system that holds the kubelet's root
	Huge    map[string]int64
	MaxPods int
	Kept    core.ResourceList // from pods, so that the machine itself never runs short of it

	Swap     int64 // bytes
	AppArmor bool  // the kernel has it
	CgroupV2 bool  // no controller is in a tree of v1
}

// Look reads the machine.
func Look(root string, maxPods int) (Machine, error) {
	mem := numbers.Read("/proc/meminfo")
	if mem["MemTotal"] == 0 {
		return Machine{}, errors.New("look at the memory: /proc/meminfo has no MemTotal")
	}
	m := Machine{CPUs: runtime.NumCPU(), Memory: int64(mem["MemTotal"]), MaxPods: maxPods,
		Swap: int64(mem["SwapTotal"]), AppArmor: strings.HasPrefix(readLine("/sys/module/apparmor/parameters/enabled"), "Y")}
	var top unix.Statfs_t
	m.CgroupV2 = unix.Statfs("/sys/fs/cgroup", &top) == nil && top.Type == unix.CGROUP2_SUPER_MAGIC
	var err error
	if m.Huge, err = hugePages("/sys/kernel/mm/hugepages"); err != nil {
		return Machine{}, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return Machine{}, fmt.Errorf("look at the disk of %s: %w", root, err)
	}
	m.Disk = int64(fs.Blocks) * fs.Bsize
	return m, nil
}

// hugePages are the bytes in huge pages of each size that the kernel knows, from dir's hugepages-2048kB/nr_hugepages.
func hugePages(dir string) (map[string]int64, error) {
	sizes, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("look at huge pages: %w", err)
	}
	out := map[string]int64{}
	for _, s := range sizes {
		var kB int64
		if _, err := fmt.Sscanf(s.Name(), "hugepages-%dkB", &kB); err != nil {
			continue
		}
		n, err := strconv.ParseInt(readLine(filepath.Join(dir, s.Name(), "nr_hugepages")), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("look at huge pages: %w", err)
		}
		out[hugeName(kB<<10)] = n * kB << 10
	}
	return out, nil
}

// HugeSizes are those of which the machine has pages, sorted.
func (m Machine) HugeSizes() []string {
	var out []string
	for size, bytes := range m.Huge {
		if bytes > 0 {
			out = append(out, size)
		}
	}
	slices.Sort(out)
	return out
}

func hugeName(bytes int64) string { return resource.NewQuantity(bytes, resource.BinarySI).String() }

// Suits says why a node cannot be as its configuration wants it.
func (m Machine) Suits(failSwapOn bool, singleOOMKill *bool) error {
	if failSwapOn && m.Swap > 0 {
		return errors.New("kubelet.failSwapOn: running with swap on is not supported, please disable swap (swapoff -a) or set failSwapOn to false")
	}
	if singleOOMKill != nil && !*singleOOMKill && !m.CgroupV2 {
		return errors.New("kubelet.singleProcessOOMKill: it must not be explicitly set to false when using cgroup v1")
	}
	return nil
}

// Capacity is all that the machine has.
func (m Machine) Capacity() core.ResourceList {
	l := core.ResourceList{
		core.ResourceCPU:              *resource.NewQuantity(int64(m.CPUs), resource.DecimalSI),
		core.ResourceMemory:           *resource.NewQuantity(m.Memory, resource.BinarySI),
		core.ResourceEphemeralStorage: *resource.NewQuantity(m.Disk, resource.BinarySI),
		core.ResourcePods:             *resource.NewQuantity(int64(m.MaxPods), resource.DecimalSI),
	}
	for size, n := range m.Huge {
		l[core.ResourceName(core.ResourceHugePagesPrefix+size)] = *resource.NewQuantity(n, resource.BinarySI)
	}
	return l
}

// Allocatable is what pods can have of it.
func (m Machine) Allocatable(reserved core.ResourceList) core.ResourceList {
	l := m.Capacity()
	take := func(name core.ResourceName, n resource.Quantity) {
		q := l[name]
		q.Sub(n)
		if q.Sign() < 0 {
			q = resource.Quantity{}
		}
		l[name] = q
	}
	huge := int64(0)
	for _, n := range m.Huge {
		huge += n
	}
	take(core.ResourceMemory, *resource.NewQuantity(huge, resource.BinarySI))
	for _, list := range []core.ResourceList{m.Kept, reserved} {
		for name, n := range list {
			take(name, n)
		}
	}
	return l
}

// declared are the features of KEP-5328 that pods may ask of this node, in the order of their names.
func declared() []string {
	return []string{"InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers", "RestartAllContainersOnContainerExits"}
}

// info is status.nodeInfo.
func info(runtimeVersion, kubeletVersion string) core.NodeSystemInfo {
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return core.NodeSystemInfo{
		MachineID: readLine("/etc/machine-id"), SystemUUID: readLine("/sys/class/dmi/id/product_uuid"),
		BootID: readLine("/proc/sys/kernel/random/boot_id"), KernelVersion: kernel, OSImage: osName(),
		ContainerRuntimeVersion: runtimeVersion, KubeletVersion: kubeletVersion,
		OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
	}
}

// readLine is the first line of a file that may not be there.
func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	s, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(s)
}

func osName() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return runtime.GOOS
}
