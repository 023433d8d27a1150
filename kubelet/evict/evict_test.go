package evict

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kit/prom"
)

func TestThresholds(t *testing.T) {
	got, err := Thresholds(Config{
		Hard:      map[string]string{"nodefs.available": "10%", "memory.available": "100Mi", "imagefs.available": "0%", "pid.available": "100%"},
		Soft:      map[string]string{"memory.available": "1Gi"},
		SoftGrace: map[string]string{"memory.available": "1m30s"}, MinimumReclaim: map[string]string{"memory.available": "500Mi"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Threshold{
		{Signal: MemoryAvailable, Value: Amount{Number: 100 << 20}, Reclaim: Amount{Number: 500 << 20}},
		{Signal: MemoryAvailable, Value: Amount{Number: 1 << 30}, Soft: true, Grace: 90 * time.Second, Reclaim: Amount{Number: 500 << 20}},
		{Signal: NodeFSAvailable, Value: Amount{Part: 0.1}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	kept := kept(got, 16<<30, 100<<30)
	if m, d := kept[core.ResourceMemory], kept[core.ResourceEphemeralStorage]; m.Value() != 100<<20 || d.Value() != 10<<30 {
		t.Errorf("kept %v", kept)
	}
	for _, c := range []struct {
		conf Config
		want string
	}{
		{Config{Hard: map[string]string{"memory.free": "1"}}, `kubelet.evictionHard: memory.free: unknown signal`},
		{Config{Hard: map[string]string{"memory.available": "110%"}}, `"110%" is not 0% to 100%`},
		{Config{Hard: map[string]string{"memory.available": "much"}}, `"much" is neither a quantity`},
		{Config{Soft: map[string]string{"memory.available": "1Gi"}}, `evictionSoft: memory.available: a soft threshold needs a grace period`},
		{Config{Soft: map[string]string{"memory.available": "1Gi"}, SoftGrace: map[string]string{"memory.available": "soon"}}, `grace period "soon"`},
		{Config{MinimumReclaim: map[string]string{"x": "1"}}, `kubelet.evictionMinimumReclaim: unknown signal "x"`},
	} {
		if _, err := Thresholds(c.conf); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestWatch(t *testing.T) {
	w := newWatch([]Threshold{
		{Signal: MemoryAvailable, Value: Amount{Number: 100}, Reclaim: Amount{Number: 50}},
		{Signal: NodeFSAvailable, Value: Amount{Part: 0.1}, Soft: true, Grace: time.Minute},
	}, 5*time.Minute)
	start := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, s := range []struct {
		at           time.Duration
		memory, disk int64
		want         string
	}{
		{0, 200, 500, "[] []"},
		{10 * time.Second, 99, 500, "[MemoryPressure] [memory.available]"},
		{20 * time.Second, 120, 500, "[MemoryPressure] [memory.available]"}, // not yet enough
		{30 * time.Second, 150, 99, "[DiskPressure MemoryPressure] []"},     // the disk has a minute
		{60 * time.Second, 120, 99, "[DiskPressure MemoryPressure] []"},     // memory is above its threshold
		{89 * time.Second, 120, 100, "[DiskPressure MemoryPressure] []"},    // the disk is not short any more: it begins anew
		{90 * time.Second, 120, 99, "[DiskPressure MemoryPressure] []"},
		{150 * time.Second, 99, 99, "[DiskPressure MemoryPressure] [memory.available nodefs.available]"},
		{160 * time.Second, 500, 500, "[DiskPressure MemoryPressure] []"},
		{449 * time.Second, 500, 500, "[DiskPressure MemoryPressure] []"},
		{451 * time.Second, 500, 500, "[] []"},
	} {
		r := Reading{MemoryAvailable: {s.memory, 1000}, NodeFSAvailable: {s.disk, 1000}}
		c, act := w.look(r, start.Add(s.at))
		var names []Signal
		for _, a := range act {
			names = append(names, a.Signal)
		}
		if got := fmt.Sprint(c, names); got != s.want {
			t.Errorf("after %v: %s, want %s", s.at, got, s.want)
		}
	}
}

type use struct {
	name             string
	priority         int32
	asked, used, pid int64
	rootfs, volume   int64
}

func pods(list []use) ([]*core.Pod, usage) {
	var out []*core.Pod
	by := map[string]*stats.PodStats{}
	n := func(i int64) *uint64 { u := uint64(i); return &u }
	for _, u := range list {
		p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: u.name}}
		p.Spec.Priority = &u.priority
		p.Spec.Volumes = []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}}
		q := *resource.NewQuantity(u.asked, resource.BinarySI)
		p.Spec.Containers = []core.Container{{Name: "c", Resources: core.ResourceRequirements{
			Requests: core.ResourceList{core.ResourceMemory: q, core.ResourceEphemeralStorage: q},
		}}}
		out = append(out, p)
		if u.used < 0 {
			continue
		}
		by[u.name] = &stats.PodStats{
			Memory: &stats.MemoryStats{WorkingSetBytes: n(u.used)}, ProcessStats: &stats.ProcessStats{ProcessCount: n(u.pid)},
			Containers:  []stats.ContainerStats{{Name: "c", Memory: &stats.MemoryStats{WorkingSetBytes: n(u.used)}, Rootfs: &stats.FsStats{UsedBytes: n(u.rootfs)}, Logs: &stats.FsStats{UsedBytes: n(1)}}},
			VolumeStats: []stats.VolumeStats{{Name: "v", FsStats: stats.FsStats{UsedBytes: n(u.volume)}}},
		}
	}
	return out, func(p *core.Pod) *stats.PodStats { return by[p.Name] }
}

func TestRank(t *testing.T) {
	for _, c := range []struct {
		signal Signal
		split  bool
		pods   []use
		want   string
	}{
		{MemoryAvailable, false, []use{
			{name: "within", asked: 100, used: 90}, {name: "high", priority: 10, asked: 10, used: 500}, {name: "little", asked: 10, used: 50},
			{name: "much", asked: 10, used: 90}, {name: "unknown", used: -1}, {name: "low", priority: -1, asked: 100, used: 90},
		}, "unknown much little high low within"},
		{PIDAvailable, false, []use{{name: "few", pid: 3}, {name: "many", pid: 30}, {name: "high", priority: 1, pid: 300}}, "many few high"},
		{NodeFSAvailable, false, []use{{name: "v", volume: 20}, {name: "r", rootfs: 30}, {name: "asked", asked: 100, rootfs: 50}}, "r v asked"},
		{NodeFSAvailable, true, []use{{name: "r", rootfs: 30}, {name: "v", volume: 20}}, "v r"},
		{ImageFSAvailable, true, []use{{name: "v", volume: 40}, {name: "r", rootfs: 30}}, "r v"},
	} {
		list, of := pods(c.pods)
		rank(list, of, c.signal, c.split)
		var names []string
		for _, p := range list {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s split %v: %s, want %s", c.signal, c.split, got, c.want)
		}
	}
}

func TestMessages(t *testing.T) {
	list, of := pods([]use{{name: "p", asked: 10 << 20, used: 50 << 20, rootfs: 3 << 20, volume: 2 << 20}})
	p := list[0]
	got := because(p, of(p), Threshold{Signal: MemoryAvailable, Value: Amount{Number: 100 << 20}}, Level{99 << 20, 1 << 30})
	want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 99Mi. " +
		"Container c was using 50Mi, request is 10Mi, has larger consumption of memory. "
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, got := beyond(p, of(p), false); got != "" || limited(p) {
		t.Errorf("no limit, but %q", got)
	}
	limit := resource.MustParse("1Mi")
	p.Spec.Volumes[0].EmptyDir.SizeLimit = &limit
	want = `Usage of EmptyDir volume "v" exceeds the limit "1Mi". `
	if _, got := beyond(p, of(p), false); got != want || !limited(p) {
		t.Errorf("got %q, want %q", got, want)
	}
	p.Spec.Volumes[0].EmptyDir.Medium = core.StorageMediumMemory // the kernel sees to it
	p.Spec.Containers[0].Resources.Limits = core.ResourceList{core.ResourceEphemeralStorage: limit}
	want = `Container c exceeded its local ephemeral storage limit "1Mi". `
	if _, got := beyond(p, of(p), false); got != want || !limited(p) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, got := beyond(p, of(p), true); got != "" { // its layer lies elsewhere
		t.Errorf("split: got %q", got)
	}
	u := of(p)
	n := uint64(9 << 20)
	u.EphemeralStorage = &stats.FsStats{UsedBytes: &n}
	want = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
	if _, got := beyond(p, u, true); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRefuse(t *testing.T) {
	e, err := New(Deps{Log: slog.New(slog.DiscardHandler), Changed: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	plain := &core.Pod{}
	asks, _ := pods([]use{{name: "asks", asked: 1}})
	tolerant := &core.Pod{Spec: core.PodSpec{Tolerations: []core.Toleration{{Key: core.TaintNodeMemoryPressure, Operator: core.TolerationOpExists}}}}
	high := int32(2_000_000_000)
	crit := &core.Pod{Spec: core.PodSpec{Priority: &high}}
	for _, c := range []struct {
		conditions []core.NodeConditionType
		want       []bool // refused: plain, asks, tolerant, critical
	}{
		{nil, []bool{false, false, false, false}},
		{[]core.NodeConditionType{core.NodeMemoryPressure}, []bool{true, false, false, false}},
		{[]core.NodeConditionType{core.NodeDiskPressure}, []bool{true, true, true, false}},
		{[]core.NodeConditionType{core.NodeDiskPressure, core.NodeMemoryPressure}, []bool{true, true, true, false}},
	} {
		e.set(c.conditions)
		var got []bool
		for _, p := range []*core.Pod{plain, asks[0], tolerant, crit} {
			got = append(got, e.Refuse(p) != nil)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.conditions, got, c.want)
		}
	}
	e.set([]core.NodeConditionType{core.NodeDiskPressure})
	if r := e.Refuse(plain); r.Reason != "Evicted" || r.Message != "The node had condition: [DiskPressure]. " {
		t.Errorf("%+v", r)
	}
}

func TestRead(t *testing.T) {
	r, err := Machine{Root: t.TempDir(), Images: func() string { return "" }}.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Signal{MemoryAvailable, NodeFSAvailable, PIDAvailable} {
		if l := r[s]; l.Available <= 0 || l.Available > l.Capacity {
			t.Errorf("%s: %+v", s, l)
		}
	}
	if _, err := (Machine{Root: "/does/not/exist", Images: func() string { return "" }}).Read(); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %v", err)
	}
}

func TestAwaitGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Evictor{}
		began := time.Now()
		done := make(chan struct{})
		close(done)
		if !e.await(t.Context(), []<-chan struct{}{done}) || time.Since(began) != 0 {
			t.Error("what had ended was waited for")
		}
		if e.await(t.Context(), []<-chan struct{}{done, make(chan struct{})}) || time.Since(began) != awaitEnd {
			t.Errorf("waited for %v", time.Since(began))
		}
	})
}

func TestPage(t *testing.T) {
	e := &Evictor{}
	e.count(podLimit)
	e.count(MemoryAvailable)
	e.count(podLimit)
	e.ages.Add(prom.Usual, [1]string{string(MemoryAvailable)}, int64(time.Second))
	var p prom.Page
	e.Page(&p)
	for _, line := range []string{`kubelet_evictions{eviction_signal="ephemeralpodfs.limit"} 2`, `kubelet_evictions{eviction_signal="memory.available"} 1`,
		`kubelet_eviction_stats_age_seconds_sum{eviction_signal="memory.available"} 1`} {
		if !strings.Contains(p.String(), line+"\n") {
			t.Errorf("no %s in\n%s", line, p.String())
		}
	}
}

// The kernel's word arrives. The CPU is easier to have waited for than memory, and its file works in the same way.
func TestPressure(t *testing.T) {
	if _, err := os.Stat("/proc/pressure/cpu"); err != nil {
		t.Skip("this kernel does not measure pressure")
	}
	f, poll, err := arm("/proc/pressure/memory", stallTrigger)
	if err != nil {
		t.Fatalf("the trigger that is used: %v", err)
	}
	if err := errors.Join(unix.Close(f), poll.Close()); err != nil {
		t.Fatal(err)
	}
	told := Machine{}.pressure(t.Context(), "cpu", "some 20000 2000000", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 3 * runtime.NumCPU() {
		busy := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			cancel()
			_ = busy.Wait() // it was killed
		}()
	}
	select {
	case <-told:
	case <-ctx.Done():
		t.Error("nothing was told of a busy CPU")
	}
}
