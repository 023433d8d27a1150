package oci_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/oci"
	"proa.dev/runtime/oci/ocitest"
)

// BenchmarkStart is the floor of a container's start in a pod that exists: cgroup, first stage, program.
func BenchmarkStart(b *testing.B) {
	p := ocitest.NewPod(b, wire.Setup{})
	rt := oci.NewBuiltin(p.Tree, b.TempDir())
	root := ocitest.RootFS(b)
	var group, create, start []time.Duration
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		id := fmt.Sprint("c", n)
		dir := filepath.Join(b.TempDir(), id)
		for _, d := range []string{"upper", "work"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		t0 := time.Now()
		g := p.Group(b, id)
		c := &oci.Container{ID: id, Dir: dir, Spec: ocitest.Spec("box", "exit", "0"), Cgroup: g, CgroupNS: true,
			Root: oci.Root{Lower: []string{root}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}}
		t1 := time.Now()
		if _, err := rt.Create(b.Context(), p.Keeper, c); err != nil {
			b.Fatal(err)
		}
		t2 := time.Now()
		if _, err := rt.Start(b.Context(), p.Keeper, c); err != nil {
			b.Fatal(err)
		}
		t3 := time.Now()
		b.StopTimer()
		group, create, start = append(group, t1.Sub(t0)), append(create, t2.Sub(t1)), append(start, t3.Sub(t2))
		p.AwaitExit(b, id)
		if err := p.Keeper.Forget(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	for name, list := range map[string][]time.Duration{"cgroup": group, "create": create, "start": start} {
		slices.Sort(list)
		b.ReportMetric(float64(list[0].Microseconds()), "µs-"+name+"-min")
		b.ReportMetric(float64(list[len(list)/2].Microseconds()), "µs-"+name+"-p50")
	}
}
