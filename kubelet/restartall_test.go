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

// A sidecar has all start anew: that the others were stopped for it does not make a failure of a pod that is never restarted otherwise.
func TestSidecarRestartsAllContainers(t *testing.T) {
	rt := critest.New()
	exit := make(chan int32)
	rt.Programs["init:1"] = func(context.Context, *critest.Container) int32 { return 0 }
	for _, name := range []string{"main", "other"} {
		rt.Programs[name+":1"] = func(ctx context.Context, _ *critest.Container) int32 {
			<-ctx.Done()
			return 137
		}
	}
	rt.Programs["source:1"] = func(ctx context.Context, _ *critest.Container) int32 {
		select {
		case code := <-exit:
			return code
		case <-ctx.Done():
			return 137
		}
	}
	b := newBench(t, rt)
	always := core.ContainerRestartPolicyAlways
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: core.PodSpec{
		NodeName: "n1", RestartPolicy: core.RestartPolicyNever,
		InitContainers: []core.Container{
			{Name: "init", Image: "init:1"}, {Name: "other", Image: "other:1", RestartPolicy: &always},
			{Name: "source", Image: "source:1", RestartPolicy: &always, RestartPolicyRules: []core.ContainerRestartRule{{
				Action:    core.ContainerRestartRuleActionRestartAllContainers,
				ExitCodes: &core.ContainerRestartRuleOnExitCodes{Operator: core.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
			}}},
		},
		Containers: []core.Container{{Name: "main", Image: "main:1"}},
	}})
	b.await("a", "runs", ready)
	exit <- 42
	p := b.await("a", "runs again, or has failed", func(p *core.Pod) bool {
		return p.Status.Phase == core.PodFailed || ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	if p.Status.Phase != core.PodRunning {
		t.Fatalf("phase %s", p.Status.Phase)
	}
	for _, s := range append(p.Status.ContainerStatuses, p.Status.InitContainerStatuses...) {
		if s.RestartCount != 1 || s.LastTerminationState.Terminated == nil {
			t.Errorf("%s: %d restarts, last state %+v", s.Name, s.RestartCount, s.LastTerminationState)
		}
	}
}
