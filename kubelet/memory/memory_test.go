package memory

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kubelet/topology"
)

const gib = 1 << 30

func pod(uid string, gibs ...string) *core.Pod {
	p := &core.Pod{}
	p.UID, p.Status.QOSClass = types.UID(uid), core.PodQOSGuaranteed
	for i, n := range gibs {
		c := core.Container{Name: string(rune('a' + i))}
		c.Resources.Limits = core.ResourceList{core.ResourceMemory: resource.MustParse(n)}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}

// box has two nodes of 10 GiB, with 1 GiB of huge pages of 2 MiB on the first; of each 1 GiB is reserved.
func box(t *testing.T, root string) *Manager {
	t.Helper()
	one := core.ResourceList{core.ResourceMemory: resource.MustParse("1Gi")}
	m, err := New(Config{
		Policy: Static, Root: root, Log: slog.New(slog.DiscardHandler), Reserved: map[int]core.ResourceList{0: one, 1: one}, Kept: resource.MustParse("2Gi"),
		Machine: &topology.Machine{Nodes: []topology.Node{{ID: 0, Memory: 11 * gib, Huge: map[uint64]uint64{2 << 20: 512}}, {ID: 1, Memory: 10 * gib}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *Manager) allocate(p *core.Pod, hint topology.Hint) error {
	for _, list := range [][]core.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if err := m.Allocate(p, &list[i], hint); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Manager) show(p *core.Pod, c *core.Container) string {
	var out []string
	for _, h := range m.Hints(p, c)["memory"] {
		s := h.Nodes.String()
		if h.Preferred {
			s += "*"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

var anywhere = topology.Hint{Any: true}

func TestGroupsOfNodes(t *testing.T) {
	root := t.TempDir()
	m := box(t, root)
	if got := fmt.Sprint(m.Allocatable()); got != "[{[0] hugepages-2Mi 1073741824} {[0] memory 9663676416} {[1] memory 9663676416}]" {
		t.Errorf("allocatable: %s", got)
	}
	small, large := pod("small", "4Gi"), pod("large", "12Gi")
	if got := m.show(small, &small.Spec.Containers[0]) + ", " + m.show(large, &large.Spec.Containers[0]); got != "0* 1* 0,1, 0,1*" {
		t.Errorf("hints of the empty machine: %s", got)
	}
	if err := m.allocate(small, anywhere); err != nil || m.Set("small", "a") != "0" {
		t.Fatalf("got %s, %v", m.Set("small", "a"), err)
	}
	// A node that serves a small request is in no group.
	if got := m.show(large, &large.Spec.Containers[0]); got != "" {
		t.Errorf("hints beside the small one: %s", got)
	}
	err := m.allocate(large, anywhere)
	if want := "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	m = box(t, root)
	if got := m.Set("small", "a"); got != "0" {
		t.Errorf("over a restart: %s", got)
	}
	m.Release("small")
	if err := m.allocate(large, anywhere); err != nil || m.Set("large", "a") != "0,1" {
		t.Errorf("got %s, %v", m.Set("large", "a"), err)
	}
	// And a node of a group serves nobody else.
	if got := m.show(small, &small.Spec.Containers[0]); got != "0,1" {
		t.Errorf("hints beside the large one: %s", got)
	}
	if err := m.allocate(pod("x", "4Gi"), topology.Hint{Nodes: topology.MaskOf(1), Preferred: true}); err == nil {
		t.Error("a node of a group given alone")
	}
	if err := m.allocate(pod("x", "4Gi"), topology.Hint{Nodes: topology.MaskOf(1)}); err != nil || m.Set("x", "a") != "0,1" {
		t.Errorf("not extended to the group: %s, %v", m.Set("x", "a"), err)
	}
}

func TestFullNodes(t *testing.T) {
	m := box(t, t.TempDir())
	for i, want := range []string{"0", "0", "1", "1"} {
		uid := fmt.Sprint(i)
		if err := m.allocate(pod(uid, "4Gi"), anywhere); err != nil || m.Set(types.UID(uid), "a") != want {
			t.Errorf("pod %d: got %s, %v; want %s", i, m.Set(types.UID(uid), "a"), err, want)
		}
	}
	if err := m.allocate(pod("4", "4Gi"), anywhere); err == nil {
		t.Error("more given than there is")
	}
}

func TestHugePagesAndMemoryFromTheSameNode(t *testing.T) {
	m := box(t, t.TempDir())
	p := pod("p", "1Gi")
	p.Spec.Containers[0].Resources.Limits["hugepages-2Mi"] = resource.MustParse("512Mi")
	if got := m.show(p, &p.Spec.Containers[0]); got != "0* 0,1" {
		t.Errorf("got %s", got)
	}
}

func TestInitContainersPassTheirMemoryOn(t *testing.T) {
	m := box(t, t.TempDir())
	p := pod("p", "5Gi", "4Gi")
	p.Spec.InitContainers = pod("p", "9Gi").Spec.Containers
	p.Spec.InitContainers[0].Name = "init"
	if err := m.allocate(p, anywhere); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(m.Set("p", "init"), m.Set("p", "a"), m.Set("p", "b")); got != "000" {
		t.Errorf("got %s", got)
	}
	if free := m.room.free(m.blocks(), topology.MaskOf(0), core.ResourceMemory); free != 0 {
		t.Errorf("%d bytes are free", free)
	}
}

// What only init containers ask for is no part of what the pod as a whole asks for.
func TestPodsAskForWhatLasts(t *testing.T) {
	p := pod("p", "1Gi")
	p.Spec.InitContainers = pod("p", "3Gi").Spec.Containers
	p.Spec.InitContainers[0].Resources.Limits["hugepages-2Mi"] = resource.MustParse("512Mi")
	if a := podAsks(p); len(a) != 1 || a[core.ResourceMemory] != 3*gib {
		t.Errorf("got %v", a)
	}
}

func TestHintsAreExtended(t *testing.T) {
	m := box(t, t.TempDir())
	if err := m.allocate(pod("p", "12Gi"), topology.Hint{Nodes: topology.MaskOf(1)}); err != nil || m.Set("p", "a") != "0,1" {
		t.Errorf("got %s, %v", m.Set("p", "a"), err)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for want, c := range map[string]Config{
		`unknown policy: "static"`: {Policy: "static"},
		"needs reserved memory":    {Policy: Static},
		"NUMA node 5":              {Policy: Static, Reserved: map[int]core.ResourceList{5: {}}},
		`kubelet.reservedMemory: the total amount "1Gi" of type "memory" is not equal to the value "1124Mi" determined by`: {
			Policy: Static, Reserved: map[int]core.ResourceList{0: {core.ResourceMemory: resource.MustParse("1Gi")}}, Kept: resource.MustParse("1124Mi"),
		},
		`the total amount "2Mi" of type "hugepages-2Mi" is not equal to the value "0"`: {
			Policy: Static, Reserved: map[int]core.ResourceList{0: {"hugepages-2Mi": resource.MustParse("2Mi")}},
		},
	} {
		c.Machine = &topology.Machine{Nodes: []topology.Node{{ID: 0}}}
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What init containers needed beyond the rest of the pod is free for others once they have ended.
func TestInitContainersGiveTheRestBack(t *testing.T) {
	m := box(t, t.TempDir())
	p := pod("p", "2Gi")
	p.Spec.InitContainers = pod("p", "9Gi").Spec.Containers
	p.Spec.InitContainers[0].Name = "init"
	if err := m.allocate(p, anywhere); err != nil {
		t.Fatal(err)
	}
	left := func() uint64 { return m.room.free(m.blocks(), topology.MaskOf(0), core.ResourceMemory) / gib }
	m.Start(p, &p.Spec.InitContainers[0])
	if left() != 0 || m.Set("p", "init") != "0" {
		t.Errorf("while it runs: %d GiB are free", left())
	}
	m.Start(p, &p.Spec.Containers[0])
	if left() != 7 || m.Set("p", "init") != "" || m.Set("p", "a") != "0" {
		t.Errorf("after it: %d GiB are free", left())
	}
}

// Where nothing is left, it is Allocate that says so, as with Kubernetes.
func TestNoHintsWhereNothingIsLeft(t *testing.T) {
	m := box(t, t.TempDir())
	p := pod("p", "19Gi")
	if h := m.Hints(p, &p.Spec.Containers[0]); h != nil {
		t.Errorf("got %v", h)
	}
}

// Of groups that are equally large, that of the lower nodes is taken: 1 and 2 come before 0 and 3.
func TestBestGroup(t *testing.T) {
	hints := []topology.Hint{{Nodes: topology.MaskOf(0, 3)}, {Nodes: topology.MaskOf(1, 2)}, {Nodes: topology.MaskOf(0, 1, 2)}}
	if h, ok := best(hints, 0); !ok || h.Nodes != topology.MaskOf(1, 2) {
		t.Errorf("got %s", h.Nodes)
	}
	if h, ok := best(hints, topology.MaskOf(0)); !ok || h.Nodes != topology.MaskOf(0, 3) {
		t.Errorf("with 0: got %s", h.Nodes)
	}
}
