package cri_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// BenchmarkPod is what targets 3 and 4 leave to the runtime: sandbox, container and start of one pod; stop and removal are
// not counted.
func BenchmarkPod(b *testing.B) {
	h := newHost(b)
	var took []time.Duration
	cpu := processorTime(b)
	parts := [3]time.Duration{}
	n := 0
	for b.Loop() {
		n++
		config := h.pod(fmt.Sprint("bench", n))
		from := time.Now()
		pod := h.runPod(config)
		t1 := time.Now()
		id := h.create(pod, nil, ctr("main", "sleep", "1h"))
		t2 := time.Now()
		if _, err := h.rt.StartContainer(b.Context(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(from))
		parts[0] += t1.Sub(from)
		parts[1] += t2.Sub(t1)
		parts[2] += time.Since(t2)
		b.StopTimer()
		if _, err := h.rt.RemovePodSandbox(b.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	cpu = processorTime(b) - cpu
	b.ReportMetric(float64(cpu.Microseconds())/float64(n), "µs-cpu") // start to removal, all processes
	slices.Sort(took)
	b.ReportMetric(float64(took[0].Microseconds()), "µs-min")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
	for i, name := range []string{"µs-sandbox", "µs-create", "µs-start"} {
		b.ReportMetric(float64(parts[i].Microseconds())/float64(n), name)
	}
}

// BenchmarkThirtyPods starts thirty pods at once, and weighs their keepers.
func BenchmarkThirtyPods(b *testing.B) {
	h := newHost(b)
	n := 0
	var rss, private float64
	for b.Loop() {
		n++
		var wg sync.WaitGroup
		pods := make([]string, 30)
		for i := range pods {
			wg.Go(func() {
				pods[i] = h.runPod(h.pod(fmt.Sprintf("many%d-%d", n, i)))
				h.run(pods[i], ctr("main", "sleep", "1h"))
			})
		}
		wg.Wait()
		b.StopTimer()
		rss, private = weigh(b, h, pods)
		for _, pod := range pods {
			wg.Go(func() {
				if _, err := h.rt.RemovePodSandbox(b.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StartTimer()
	}
	b.ReportMetric(rss, "kB-RSS/keeper")
	b.ReportMetric(private, "kB-PSS/keeper")
}

// weigh returns the mean resident and proportional size of keepers.
func weigh(b *testing.B, h *host, pods []string) (rss, pss float64) {
	for _, pod := range pods {
		pid, err := os.ReadFile(h.deps.Run + "/keepers/" + pod + "/pid")
		if err != nil {
			b.Fatal(err)
		}
		data, err := os.ReadFile("/proc/" + string(pid) + "/smaps_rollup")
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var kb float64
			if _, err := fmt.Sscanf(line, "Rss: %f kB", &kb); err == nil {
				rss += kb
			}
			if _, err := fmt.Sscanf(line, "Pss: %f kB", &kb); err == nil {
				pss += kb
			}
		}
	}
	return rss / float64(len(pods)), pss / float64(len(pods))
}

// processorTime is what this process and its children that have ended have used.
func processorTime(b *testing.B) time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
