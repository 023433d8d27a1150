package status

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kubelet/observe"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func pod(policy core.RestartPolicy, init, main int) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Generation: 3}}
	p.Spec.RestartPolicy = policy
	for i := range init {
		p.Spec.InitContainers = append(p.Spec.InitContainers, core.Container{Name: fmt.Sprintf("i%d", i), Image: "i:1"})
	}
	for i := range main {
		p.Spec.Containers = append(p.Spec.Containers, core.Container{Name: fmt.Sprintf("c%d", i), Image: "c:1"})
	}
	return p
}

func running(name string) observe.Container {
	return observe.Container{ID: "id-" + name, Name: name, State: observe.Running, Started: noon}
}

func exited(name string, code int32) observe.Container {
	c := observe.Container{ID: "id-" + name, Name: name, State: observe.Exited, ExitCode: code, Reason: "Completed", Started: noon, Finished: noon}
	if code != 0 {
		c.Reason = "Error"
	}
	return c
}

func generate(p *core.Pod, change func(*Input), cs ...observe.Container) core.PodStatus {
	rt := &observe.Pod{Sandboxes: []observe.Sandbox{{ID: "s", Ready: true, IPs: []netip.Addr{netip.MustParseAddr("10.42.0.5")}}}}
	for _, c := range cs {
		rt.SetContainer(c)
	}
	in := Input{
		Pod: p, Runtime: rt, RuntimeName: "proa", HostIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Old: &core.PodStatus{}, Now: noon,
		Probed: func(string) Probed { return Probed{true, true} },
	}
	if change != nil {
		change(&in)
	}
	return Generate(in)
}

// brief is a status in one line: the phase, the states of the containers, and the conditions that are not as usual.
func brief(s core.PodStatus) string {
	var b strings.Builder
	fmt.Fprint(&b, s.Phase)
	if s.Reason != "" {
		fmt.Fprintf(&b, "(%s)", s.Reason)
	}
	for _, list := range [][]core.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for _, c := range list {
			fmt.Fprintf(&b, " %s:", c.Name)
			switch st := c.State; {
			case st.Running != nil:
				b.WriteString("running")
			case st.Terminated != nil:
				fmt.Fprintf(&b, "exit%d", st.Terminated.ExitCode)
			case st.Waiting != nil:
				b.WriteString(st.Waiting.Reason)
			}
			if c.Ready {
				b.WriteString("+")
			}
			if l := c.LastTerminationState.Terminated; l != nil {
				fmt.Fprintf(&b, "(last %d)", l.ExitCode)
			}
		}
	}
	for _, c := range s.Conditions {
		if c.Type == core.PodInitialized || c.Type == core.PodReady {
			fmt.Fprintf(&b, " %s=%s", c.Type, c.Status)
			if c.Reason != "" {
				fmt.Fprintf(&b, "(%s)", c.Reason)
			}
		}
	}
	return b.String()
}

func TestGenerate(t *testing.T) {
	always, onFailure, never := core.RestartPolicyAlways, core.RestartPolicyOnFailure, core.RestartPolicyNever
	sidecar := pod(always, 1, 1)
	keep := core.ContainerRestartPolicyAlways
	sidecar.Spec.InitContainers[0].RestartPolicy = &keep
	ownRule := pod(never, 2, 1)
	ownRule.Spec.InitContainers[0].RestartPolicy = &keep
	ending := func(in *Input) { in.Ending = true }
	for _, c := range []struct {
		name   string
		pod    *core.Pod
		change func(*Input)
		have   []observe.Container
		want   string
	}{
		{"new", pod(always, 0, 2), nil, nil, "Pending c0:ContainerCreating c1:ContainerCreating Initialized=True Ready=False(ContainersNotReady)"},
		{"new with init", pod(always, 2, 1), nil, nil, "Pending i0:PodInitializing i1:PodInitializing c0:PodInitializing Initialized=False(ContainersNotInitialized) Ready=False(ContainersNotReady)"},
		{"init done", pod(always, 2, 1), nil, []observe.Container{exited("i0", 0), running("i1")}, "Pending i0:exit0+ i1:running c0:PodInitializing Initialized=False(ContainersNotInitialized) Ready=False(ContainersNotReady)"},
		{"init failed for good", pod(never, 1, 1), nil, []observe.Container{exited("i0", 1)}, "Failed i0:exit1 c0:PodInitializing Initialized=False(ContainersNotInitialized) Ready=False(PodFailed)"},
		{"running", pod(always, 1, 1), nil, []observe.Container{exited("i0", 0), running("c0")}, "Running i0:exit0+ c0:running+ Initialized=True Ready=True"},
		{"one of two", pod(always, 0, 2), nil, []observe.Container{running("c0")}, "Pending c0:running+ c1:ContainerCreating Initialized=True Ready=False(ContainersNotReady)"},
		{"still starting", pod(always, 0, 1), func(in *Input) { in.Starting = map[string]bool{"c0": true} }, []observe.Container{running("c0")}, "Pending c0:ContainerCreating Initialized=True Ready=False(ContainersNotReady)"},
		{"ended, will restart", pod(always, 0, 1), nil, []observe.Container{exited("c0", 0)}, "Running c0:exit0 Initialized=True Ready=False(ContainersNotReady)"},
		{"crash loop", pod(always, 0, 1), func(in *Input) { in.Waiting = map[string]Reason{"c0": {"CrashLoopBackOff", "x"}} }, []observe.Container{exited("c0", 1)}, "Running c0:CrashLoopBackOff(last 1) Initialized=True Ready=False(ContainersNotReady)"},
		{"image missing", pod(always, 0, 1), func(in *Input) { in.Waiting = map[string]Reason{"c0": {"ErrImagePull", "x"}} }, nil, "Pending c0:ErrImagePull Initialized=True Ready=False(ContainersNotReady)"},
		{"succeeded", pod(onFailure, 0, 2), nil, []observe.Container{exited("c0", 0), exited("c1", 0)}, "Succeeded c0:exit0 c1:exit0 Initialized=True(PodCompleted) Ready=False(PodCompleted)"},
		{"failed", pod(never, 0, 2), nil, []observe.Container{exited("c0", 0), exited("c1", 2)}, "Failed c0:exit0 c1:exit2 Initialized=True Ready=False(PodFailed)"},
		{"on failure again", pod(onFailure, 0, 2), nil, []observe.Container{exited("c0", 0), exited("c1", 2)}, "Running c0:exit0 c1:exit2 Initialized=True Ready=False(ContainersNotReady)"},
		{"deleted", pod(always, 0, 1), ending, []observe.Container{exited("c0", 143)}, "Failed c0:exit143 Initialized=True Ready=False(PodFailed)"},
		{"deleted and polite", pod(always, 0, 1), ending, []observe.Container{exited("c0", 0)}, "Succeeded c0:exit0 Initialized=True(PodCompleted) Ready=False(PodCompleted)"},
		{"rejected", pod(always, 0, 1), func(in *Input) { in.Ending, in.Fail = true, &Reason{"OutOfcpu", "x"} }, nil, "Failed(OutOfcpu) Initialized=True Ready=False(PodFailed)"},
		{"final stays final", pod(always, 0, 1), func(in *Input) { in.Old = &core.PodStatus{Phase: core.PodFailed, Reason: "Evicted"} }, []observe.Container{running("c0")}, "Failed(Evicted) c0:running+ Initialized=True Ready=False(PodFailed)"},
		{"rejected, and known from the API only", pod(always, 1, 1), func(in *Input) {
			in.Pod.Status = core.PodStatus{Phase: core.PodFailed, Reason: "SysctlForbidden"}
			in.Old = &in.Pod.Status
		}, nil, "Failed(SysctlForbidden) Initialized=False(UnknownContainerStatuses) Ready=False(PodFailed)"},
		{"ran, and known from the API only", pod(always, 0, 1), func(in *Input) {
			in.Pod.Status = core.PodStatus{Phase: core.PodFailed, ContainerStatuses: []core.ContainerStatus{
				{Name: "c0", ContainerID: "proa://gone", State: core.ContainerState{Running: &core.ContainerStateRunning{}}},
			}}
			in.Old = &in.Pod.Status
		}, nil, "Failed c0:exit137(last 137) Initialized=True Ready=False(PodFailed)"},
		{"a sidecar has all start anew", ownRule, func(in *Input) { in.Resetting = true }, []observe.Container{exited("i0", 42), exited("c0", 137)}, "Running i0:exit42 i1:exit0+ c0:exit137 Initialized=True Ready=False(ContainersNotReady)"},
		{"and an init container with it", ownRule, func(in *Input) { in.Resetting = true }, []observe.Container{exited("i0", 42), exited("i1", 137)}, "Pending i0:exit42 i1:exit137 c0:PodInitializing Initialized=False(ContainersNotInitialized) Ready=False(ContainersNotReady)"},
		{"sidecar up", sidecar, nil, []observe.Container{running("i0"), running("c0")}, "Running i0:running+ c0:running+ Initialized=True Ready=True"},
		{"sidecar crashed", sidecar, nil, []observe.Container{exited("i0", 1), running("c0")}, "Running i0:exit1 c0:running+ Initialized=True Ready=False(ContainersNotReady)"},
		{"sidecar not started", sidecar, func(in *Input) { in.Probed = func(string) Probed { return Probed{} } }, []observe.Container{running("i0")}, "Pending i0:running c0:PodInitializing Initialized=False(ContainersNotInitialized) Ready=False(ContainersNotReady)"},
		{"not ready", pod(always, 0, 1), func(in *Input) { in.Probed = func(string) Probed { return Probed{Started: true} } }, []observe.Container{running("c0")}, "Running c0:running Initialized=True Ready=False(ContainersNotReady)"},
	} {
		if got := brief(generate(c.pod, c.change, c.have...)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestResourcesOfTheWhole(t *testing.T) {
	list := func(cpu string) core.ResourceList {
		return core.ResourceList{core.ResourceCPU: resource.MustParse(cpu)}
	}
	p := pod(core.RestartPolicyAlways, 0, 2)
	if s := generate(p, nil); s.AllocatedResources != nil || !cmp.Equal(s.Resources, &core.ResourceRequirements{}) {
		t.Errorf("of a pod that asks for nothing: %v, %+v", s.AllocatedResources, s.Resources)
	}
	p.Spec.Containers[0].Resources = core.ResourceRequirements{Requests: list("1"), Limits: list("2")}
	p.Spec.Containers[1].Resources = core.ResourceRequirements{Requests: list("2")}
	want := &core.ResourceRequirements{Requests: list("3"), Limits: list("2")}
	if s := generate(p, nil); !cmp.Equal(s.Resources, want) || !cmp.Equal(s.AllocatedResources, want.Requests) {
		t.Errorf("sums: %v, %+v", s.AllocatedResources, s.Resources)
	}
	p.Spec.Resources = &core.ResourceRequirements{Requests: list("4"), Limits: list("5")}
	if s := generate(p, nil); !cmp.Equal(s.Resources, p.Spec.Resources) || !cmp.Equal(s.AllocatedResources, list("4")) {
		t.Errorf("the pod's own: %v, %+v", s.AllocatedResources, s.Resources)
	}
}

func TestConditionsOfOthersStay(t *testing.T) {
	p := pod(core.RestartPolicyAlways, 0, 1)
	p.Spec.ReadinessGates = []core.PodReadinessGate{{ConditionType: "example.com/gate"}}
	p.Status.Conditions = []core.PodCondition{{Type: "example.com/other", Status: core.ConditionTrue}, {Type: core.PodScheduled, Status: core.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour))}}
	s := generate(p, nil, running("c0"))
	var got []string
	for _, c := range s.Conditions {
		got = append(got, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Message))
	}
	want := []string{
		"example.com/other=True ", "PodReadyToStartContainers=True ", "Initialized=True ",
		`Ready=False corresponding condition of pod readiness gate "example.com/gate" does not exist.`, "ContainersReady=True ", "PodScheduled=True ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if at := condition(s.Conditions, core.PodScheduled).LastTransitionTime; !at.Equal(&p.Status.Conditions[1].LastTransitionTime) {
		t.Errorf("a condition that did not change has a new time, %v", at)
	}
	p.Status.Conditions = append(p.Status.Conditions, core.PodCondition{Type: "example.com/gate", Status: core.ConditionTrue})
	if s := generate(p, nil, running("c0")); condition(s.Conditions, core.PodReady).Status != core.ConditionTrue {
		t.Errorf("the gate is open, and the pod is not ready: %v", s.Conditions)
	}
}

func TestContainerThatTheRuntimeForgot(t *testing.T) {
	p := pod(core.RestartPolicyAlways, 0, 1)
	old := &core.PodStatus{ContainerStatuses: []core.ContainerStatus{{
		Name: "c0", RestartCount: 2, ContainerID: "proa://gone", State: core.ContainerState{Running: &core.ContainerStateRunning{}},
	}}}
	s := generate(p, func(in *Input) { in.Old = old }).ContainerStatuses[0]
	if s.RestartCount != 3 || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.Reason != "ContainerStatusUnknown" {
		t.Errorf("%+v", s)
	}
	s = generate(p, func(in *Input) { in.Old = old }, running("c0")).ContainerStatuses[0]
	if s.ContainerID != "proa://id-c0" || s.State.Running == nil {
		t.Errorf("%+v", s)
	}
}

func TestShouldRestart(t *testing.T) {
	never, onFailure := core.ContainerRestartPolicyNever, core.ContainerRestartPolicyOnFailure
	rule := []core.ContainerRestartRule{{Action: core.ContainerRestartRuleActionRestart, ExitCodes: &core.ContainerRestartRuleOnExitCodes{
		Operator: core.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	for _, c := range []struct {
		policy core.RestartPolicy
		c      core.Container
		init   bool
		code   int32
		want   bool
	}{
		{core.RestartPolicyAlways, core.Container{}, false, 0, true},
		{core.RestartPolicyAlways, core.Container{}, true, 0, false},
		{core.RestartPolicyAlways, core.Container{}, true, 1, true},
		{core.RestartPolicyOnFailure, core.Container{}, false, 0, false},
		{core.RestartPolicyOnFailure, core.Container{}, false, 1, true},
		{core.RestartPolicyNever, core.Container{}, false, 1, false},
		{core.RestartPolicyAlways, core.Container{RestartPolicy: &never}, false, 1, false},
		{core.RestartPolicyNever, core.Container{RestartPolicy: &onFailure}, false, 1, true},
		{core.RestartPolicyAlways, core.Container{RestartPolicy: &never, RestartPolicyRules: rule}, false, 42, true},
		{core.RestartPolicyAlways, core.Container{RestartPolicy: &never, RestartPolicyRules: rule}, false, 41, false},
	} {
		p := pod(c.policy, 0, 0)
		c.c.Name = "x"
		if c.init {
			p.Spec.InitContainers = append(p.Spec.InitContainers, c.c)
		} else {
			p.Spec.Containers = append(p.Spec.Containers, c.c)
		}
		if got := ShouldRestart(p, &c.c, c.code); got != c.want {
			t.Errorf("%s %+v init %v code %d: %v", c.policy, c.c.RestartPolicy, c.init, c.code, got)
		}
	}
}

func TestContainersOfAPodThatIsOver(t *testing.T) {
	state := func(c core.ContainerStatus) string {
		switch {
		case c.State.Terminated != nil:
			return c.State.Terminated.Reason
		case c.State.Waiting != nil:
			return c.State.Waiting.Reason
		}
		return "running"
	}
	states := func(s core.PodStatus) (out string) {
		for _, c := range append(s.InitContainerStatuses, s.ContainerStatuses...) {
			out += state(c) + " "
		}
		return out + string(s.Phase)
	}
	ending := func(in *Input) { in.Ending = true }
	evicted := func(in *Input) { in.Ending, in.Fail = true, &Reason{"Evicted", "no room"} }
	for want, got := range map[string]core.PodStatus{
		"ContainerStatusUnknown Failed":                                                 generate(pod(core.RestartPolicyAlways, 0, 1), ending),
		"ContainerStatusUnknown PodInitializing Failed":                                 generate(pod(core.RestartPolicyAlways, 1, 1), ending),
		"Error PodInitializing Failed":                                                  generate(pod(core.RestartPolicyNever, 1, 1), nil, exited("i0", 1)),
		"Completed ContainerStatusUnknown Failed":                                       generate(pod(core.RestartPolicyAlways, 1, 1), ending, exited("i0", 0)),
		"ContainerStatusUnknown PodInitializing PodInitializing PodInitializing Failed": generate(pod(core.RestartPolicyAlways, 2, 2), ending),
		"running ContainerCreating Failed":                                              generate(pod(core.RestartPolicyAlways, 0, 2), evicted, running("c0")),
	} {
		if s := states(got); s != want {
			t.Errorf("%s, want %s", s, want)
		}
	}
}
