package kubelet_test

import (
	"context"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kubelet/cri/critest"
)

// A container whose end has all start anew: the init container runs again, the sandbox and the counts of restarts stay.
func TestRestartAllContainers(t *testing.T) {
	rt := critest.New()
	ends := map[string]chan int32{}
	for _, name := range []string{"init", "main", "watcher"} {
		end := make(chan int32)
		ends[name] = end
		rt.Programs[name+":1"] = func(ctx context.Context, _ *critest.Container) int32 {
			select {
			case code := <-end:
				return code
			case <-ctx.Done():
				return 0
			}
		}
	}
	b := newBench(t, rt)
	never := core.ContainerRestartPolicyNever
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: core.PodSpec{
		NodeName: "n1", RestartPolicy: core.RestartPolicyNever,
		InitContainers: []core.Container{{Name: "init", Image: "init:1"}},
		Containers: []core.Container{{Name: "main", Image: "main:1"}, {
			Name: "watcher", Image: "watcher:1", RestartPolicy: &never,
			RestartPolicyRules: []core.ContainerRestartRule{{
				Action:    core.ContainerRestartRuleActionRestartAllContainers,
				ExitCodes: &core.ContainerRestartRuleOnExitCodes{Operator: core.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
			}},
		}},
	}})
	initRuns := func(what string) {
		b.await("a", what, func(p *core.Pod) bool {
			return len(p.Status.InitContainerStatuses) == 1 && p.Status.InitContainerStatuses[0].State.Running != nil
		})
		ends["init"] <- 0
	}
	initRuns("initialises")
	p := b.await("a", "runs", ready)
	ip := p.Status.PodIP
	if c := condition(p, core.AllContainersRestarting); c == nil || c.Status != core.ConditionFalse {
		t.Errorf("before: %+v", c)
	}
	ends["watcher"] <- 42
	initRuns("initialises again")
	p = b.await("a", "runs again", func(p *core.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	for _, s := range append(p.Status.ContainerStatuses, p.Status.InitContainerStatuses...) {
		if s.RestartCount != 1 {
			t.Errorf("%s: %d restarts", s.Name, s.RestartCount)
		}
	}
	if p.Status.PodIP != ip || p.Status.Phase != core.PodRunning {
		t.Errorf("address %s, was %s; %s", p.Status.PodIP, ip, p.Status.Phase)
	}
	if c := condition(p, core.AllContainersRestarting); c == nil || c.Status != core.ConditionFalse {
		t.Errorf("after: %+v", c)
	}
	ends["main"] <- 0 // no rule: it stays away
	ends["watcher"] <- 1
	b.await("a", "ends", func(p *core.Pod) bool { return p.Status.Phase == core.PodFailed })
}
