package evict

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is what is measured.
type Signal string

// The signals of Kubernetes. containerfs is the file system of containers' writable layers, here always that of images.
const (
	MemoryAvailable       Signal = "memory.available"
	NodeFSAvailable       Signal = "nodefs.available"
	NodeFSInodesFree      Signal = "nodefs.inodesFree"
	ImageFSAvailable      Signal = "imagefs.available"
	ImageFSInodesFree     Signal = "imagefs.inodesFree"
	ContainerFSAvailable  Signal = "containerfs.available"
	ContainerFSInodesFree Signal = "containerfs.inodesFree"
	PIDAvailable          Signal = "pid.available"
)

// What runs short, as messages name it.
const (
	inodes core.ResourceName = "inodes"
	pids   core.ResourceName = "pids"
)

// meaning is which condition of the node a signal makes true, and what is short then.
type meaning struct {
	condition core.NodeConditionType
	short     core.ResourceName
}

func meaningOf(s Signal) (m meaning, ok bool) {
	switch s {
	case MemoryAvailable:
		return meaning{core.NodeMemoryPressure, core.ResourceMemory}, true
	case NodeFSAvailable, ImageFSAvailable, ContainerFSAvailable:
		return meaning{core.NodeDiskPressure, core.ResourceEphemeralStorage}, true
	case NodeFSInodesFree, ImageFSInodesFree, ContainerFSInodesFree:
		return meaning{core.NodeDiskPressure, inodes}, true
	case PIDAvailable:
		return meaning{core.NodePIDPressure, pids}, true
	}
	return m, false
}

// Amount is a number of bytes, inodes or processes, or a part of what there is.
type Amount struct {
	Number int64
	Part   float64 // 0 to 1, if Number is 0
}

// of is the amount where there is capacity in all.
func (a Amount) of(capacity int64) int64 {
	if a.Part > 0 {
		return int64(float64(capacity) * a.Part)
	}
	return a.Number
}

// Threshold is when there is too little.
type Threshold struct {
	Signal  Signal
	Value   Amount
	Soft    bool
	Grace   time.Duration // of a soft one: how long it has to last
	Reclaim Amount        // how much more than Value there has to be again
}

// Config is how evictions are configured. The maps are of signals, with values as the fields of a KubeletConfiguration have them.
type Config struct {
	Hard, Soft, SoftGrace, MinimumReclaim map[string]string

	MaxGrace   time.Duration // that pods get by soft thresholds, unless they ask for less
	Transition time.Duration // for how long a condition stays after it was last seen; default 5 min
}

// DefaultHard are the thresholds of who configures none. Kubernetes' own are 10% of the disk, 15% for images: on the large, shared disk
// of a workstation that is a lot that pods may not use, and a node that refuses all pods there at its first start. That of process ids is
// ours: a node without any left can not even evict.
func DefaultHard() map[string]string {
	return map[string]string{
		string(MemoryAvailable): "100Mi", string(NodeFSAvailable): "5%", string(NodeFSInodesFree): "5%",
		string(ImageFSAvailable): "5%", string(ImageFSInodesFree): "5%", string(PIDAvailable): "10%",
	}
}

// Thresholds reads a configuration, those of memory first. Without hard ones it has the default.
func Thresholds(c Config) ([]Threshold, error) {
	if c.Hard == nil {
		c.Hard = DefaultHard()
	}
	var out []Threshold
	for _, kind := range []struct {
		key  string
		soft bool
		m    map[string]string
	}{{"evictionHard", false, c.Hard}, {"evictionSoft", true, c.Soft}} {
		for _, name := range slices.Sorted(maps.Keys(kind.m)) {
			t, err := threshold(Signal(name), kind.m[name], kind.soft, c)
			if err != nil {
				return nil, fmt.Errorf("kubelet.%s: %s: %w", kind.key, name, err)
			}
			if t.Value != (Amount{}) && t.Value.Part < 1 { // 0% and 100% switch a threshold off
				out = append(out, t)
			}
		}
	}
	for key, m := range map[string]map[string]string{"evictionSoftGracePeriod": c.SoftGrace, "evictionMinimumReclaim": c.MinimumReclaim} {
		for name := range m {
			if _, ok := meaningOf(Signal(name)); !ok {
				return nil, fmt.Errorf("kubelet.%s: unknown signal %q", key, name)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Threshold) int {
		return order(a.Signal) - order(b.Signal)
	})
	return out, nil
}

func order(s Signal) int {
	if s == MemoryAvailable {
		return 0
	}
	return 1
}

func threshold(s Signal, text string, soft bool, c Config) (t Threshold, err error) {
	if _, ok := meaningOf(s); !ok {
		return t, fmt.Errorf("unknown signal; there are %s, %s, %s, %s, %s and %s",
			MemoryAvailable, NodeFSAvailable, NodeFSInodesFree, ImageFSAvailable, ImageFSInodesFree, PIDAvailable)
	}
	t = Threshold{Signal: s, Soft: soft}
	if t.Value, err = amount(text); err != nil {
		return t, err
	}
	if soft {
		grace, ok := c.SoftGrace[string(s)]
		if !ok {
			return t, fmt.Errorf("a soft threshold needs a grace period: set it in kubelet.evictionSoftGracePeriod")
		}
		if t.Grace, err = time.ParseDuration(grace); err != nil || t.Grace < 0 {
			return t, fmt.Errorf("grace period %q is no duration such as 1m30s", grace)
		}
	}
	if more, ok := c.MinimumReclaim[string(s)]; ok {
		if t.Reclaim, err = amount(more); err != nil {
			return t, fmt.Errorf("minimum reclaim: %w", err)
		}
	}
	return t, nil
}

// amount reads "100Mi" or "10%".
func amount(s string) (Amount, error) {
	if part, ok := strings.CutSuffix(s, "%"); ok {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil || !(f >= 0 && f <= 100) { // NaN is neither
			return Amount{}, fmt.Errorf("%q is not 0%% to 100%%", s)
		}
		return Amount{Part: f / 100}, nil
	}
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Sign() < 0 || q.CmpInt64(math.MaxInt64) > 0 {
		return Amount{}, fmt.Errorf("%q is neither a quantity such as 100Mi nor a percentage such as 10%%", s)
	}
	return Amount{Number: q.Value()}, nil
}

// kept is what the hard thresholds keep free of so many bytes of memory and disk.
func kept(thresholds []Threshold, memory, disk int64) core.ResourceList {
	out := core.ResourceList{}
	for _, t := range thresholds {
		switch {
		case t.Soft:
		case t.Signal == MemoryAvailable:
			out[core.ResourceMemory] = *resource.NewQuantity(t.Value.of(memory), resource.BinarySI)
		case t.Signal == NodeFSAvailable:
			out[core.ResourceEphemeralStorage] = *resource.NewQuantity(t.Value.of(disk), resource.BinarySI)
		}
	}
	return out
}
