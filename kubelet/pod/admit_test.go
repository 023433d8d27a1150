package pod

import (
	"testing"

	core "k8s.io/api/core/v1"
)

// TestAppArmorNeeded: a pod that wants to be confined does not begin to run where nothing confines it.
func TestAppArmorNeeded(t *testing.T) {
	confined := func(phase core.PodPhase) *core.Pod {
		return &core.Pod{Spec: core.PodSpec{SecurityContext: &core.PodSecurityContext{AppArmorProfile: &core.AppArmorProfile{Type: core.AppArmorProfileTypeRuntimeDefault}}},
			Status: core.PodStatus{Phase: phase}}
	}
	for _, c := range []struct {
		has  bool
		pod  *core.Pod
		want string
	}{
		{false, confined(core.PodPending), "Cannot enforce AppArmor: AppArmor is not enabled on the host"},
		{false, confined(core.PodRunning), ""},
		{true, confined(core.PodPending), ""},
		{false, &core.Pod{}, ""},
	} {
		no := (&Rules{AppArmor: c.has}).admit(c.pod, nil, &core.Node{})
		if c.want == "" && no != nil || c.want != "" && (no == nil || no.Reason != "AppArmor" || no.Message != c.want) {
			t.Errorf("AppArmor %v, pod %s: %v, want %q", c.has, c.pod.Status.Phase, no, c.want)
		}
	}
}
