package kubelet_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kubelet/cri/critest"
)

// has waits until the page has all the lines.
func (b *bench) has(lines ...string) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		page, missing := b.kubelet.Page(), ""
		for _, line := range lines {
			if !strings.Contains("\n"+page, "\n"+line+"\n") {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("there is no %s in\n%s", missing, page)
		}
	}
}

func TestCounts(t *testing.T) {
	rt := critest.New("web:1")
	rt.Programs["init:1"] = func(context.Context, *critest.Container) int32 { return 0 }
	rt.Programs["crash:1"] = func(context.Context, *critest.Container) int32 { return 139 }
	b := newBench(t, rt)
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: core.PodSpec{
		InitContainers: []core.Container{{Name: "i", Image: "init:1"}}, Containers: []core.Container{{Name: "c", Image: "web:1"}, {Name: "d", Image: "web:1"}},
	}})
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "crash"}, Spec: core.PodSpec{
		RestartPolicy: core.RestartPolicyNever, Containers: []core.Container{{Name: "c", Image: "crash:1"}},
	}})
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "none:1"}}}})
	much := core.ResourceList{core.ResourceCPU: resource.MustParse("1000")}
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "big"}, Spec: core.PodSpec{Containers: []core.Container{{
		Name: "c", Image: "web:1", Resources: core.ResourceRequirements{Requests: much},
	}}}})
	b.await("web", "ready", ready)
	for _, name := range []string{"crash", "big"} {
		b.await(name, "failed", func(p *core.Pod) bool { return p != nil && p.Status.Phase == core.PodFailed })
	}
	b.has(
		`kubelet_started_containers_total{container_type="init_container"} 1`, `kubelet_started_containers_total{container_type="container"} 4`,
		`kubelet_started_containers_errors_total{container_type="container",code="ErrImagePull"} 1`,
		`kubelet_terminated_containers_total{container_type="init_container",exit_code="0",reason="Completed"} 1`,
		`kubelet_terminated_containers_total{container_type="container",exit_code="139",reason="Error"} 1`,
		`kubelet_admission_rejections_total{reason="OutOfcpu"} 1`, `kubelet_pod_level_resources_admission_total{config_mode="",qos_class="besteffort"} 3`,
		"kubelet_containers_per_pod_count_count 3", "kubelet_containers_per_pod_count_sum 4", "kubelet_pod_worker_start_duration_seconds_count 4",
		`kubelet_working_pods{lifecycle="sync",config="desired",static=""} 2`, `kubelet_working_pods{lifecycle="terminated",config="desired",static=""} 2`,
		`kubelet_restarted_pods_total{static=""} 0`, "kubelet_orphaned_runtime_pods_total 0", "kubelet_pod_in_progress_resizes 0",
	)
}

// A pod that comes again before it has ended starts once it has.
func TestStaticPodComesAgain(t *testing.T) {
	rt := critest.New()
	end := make(chan struct{})
	rt.Programs["web:1"] = func(ctx context.Context, _ *critest.Container) int32 {
		<-ctx.Done()
		<-end
		return 0
	}
	b := newBench(t, rt)
	b.kill()
	b.conf.StaticPods = t.TempDir()
	manifest := filepath.Join(b.conf.StaticPods, "web.yaml")
	put := func() {
		text := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: 'web:1'}]\n"
		if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put()
	b.start()
	first := b.await("web-n1", "ready", ready).Status.ContainerStatuses[0].ContainerID
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	poll(t, "the container to be stopped", func() bool { return rt.Calls("StopContainer") > 0 })
	b.has(`kubelet_working_pods{lifecycle="terminating",config="orphan",static="true"} 1`)
	put()
	b.has(`kubelet_working_pods{lifecycle="terminating",config="orphan",static="true"} 1`)
	close(end)
	b.has(`kubelet_restarted_pods_total{static="true"} 1`, `kubelet_working_pods{lifecycle="sync",config="desired",static="true"} 1`)
	b.await("web-n1", "ready again", func(p *core.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].ContainerID != first })
}
