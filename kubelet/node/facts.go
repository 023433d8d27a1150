package node

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Machine is what the node consists of.
type Machine struct {
	CPUs    int
	Memory  int64 // bytes
	Disk    int64 // bytes of the file system that holds the kubelet's root
	Huge    map[string]int64
	MaxPods int
	Kept    core.ResourceList // from pods, so that the machine itself never runs short of it
}

// Look reads the machine.
func Look(root string, maxPods int) (Machine, error) {
	mem, err := meminfo()
	if err != nil {
		return Machine{}, err
	}
	m := Machine{CPUs: runtime.NumCPU(), Memory: mem["MemTotal"], MaxPods: maxPods, Huge: map[string]int64{}}
	if size := mem["Hugepagesize"]; size > 0 {
		m.Huge[hugeName(size)] = mem["HugePages_Total"] * size
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return Machine{}, fmt.Errorf("look at the disk of %s: %w", root, err)
	}
	m.Disk = int64(fs.Blocks) * fs.Bsize
	return m, nil
}

func hugeName(bytes int64) string { return resource.NewQuantity(bytes, resource.BinarySI).String() }

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

// meminfo reads /proc/meminfo in bytes; counts stay counts.
func meminfo() (map[string]int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]int64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		w := strings.Fields(rest)
		if !ok || len(w) == 0 {
			continue
		}
		n, err := strconv.ParseInt(w[0], 10, 64)
		if err != nil {
			continue
		}
		if len(w) > 1 && w[1] == "kB" {
			n *= 1024
		}
		out[name] = n
	}
	return out, lines.Err()
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
