package kubelet_test

import (
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/kubelet/cri/critest"
	"proa.dev/object"
)

// TestRuntimeThatLacks has pods want what a runtime does not say that it can: each hears of it.
func TestRuntimeThatLacks(t *testing.T) {
	b := newBench(t, critest.New("web:1"))
	poll(t, "the node to be known", func() bool {
		n, ok := client.Lookup[core.Node](b.api.View(), object.Key{Name: "n1"})
		return ok && n.Status.NodeInfo.ContainerRuntimeVersion != ""
	})
	mounts := func(name string, mode core.RecursiveReadOnlyMode) *core.Pod {
		return &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: core.PodSpec{
			NodeName: "n1", Volumes: []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}},
			Containers: []core.Container{{Name: "c", Image: "web:1", VolumeMounts: []core.VolumeMount{
				{Name: "v", MountPath: "/v", ReadOnly: true, RecursiveReadOnly: &mode}}}},
		}}
	}
	b.create(mounts("must", core.RecursiveReadOnlyEnabled))
	b.create(mounts("may", core.RecursiveReadOnlyIfPossible))
	p := b.await("must", "waits", func(p *core.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerConfigError"
	})
	want := `failed to resolve recursive read-only mode: volume "v" requested recursive read-only mode, but it is not supported by the runtime`
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p = b.await("may", "runs", ready)
	for _, m := range p.Status.ContainerStatuses[0].VolumeMounts {
		if m.Name == "v" && (m.RecursiveReadOnly == nil || *m.RecursiveReadOnly != core.RecursiveReadOnlyDisabled) {
			t.Errorf("the status says %v", m.RecursiveReadOnly)
		}
	}

	strict := core.SupplementalGroupsPolicyStrict
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "strict"}, Spec: core.PodSpec{
		NodeName: "n1", SecurityContext: &core.PodSecurityContext{SupplementalGroupsPolicy: &strict}, Containers: []core.Container{{Name: "c", Image: "web:1"}},
	}})
	p = b.await("strict", "is refused", func(p *core.Pod) bool { return p.Status.Phase == core.PodFailed })
	if p.Status.Reason != "SupplementalGroupsPolicyNotSupported" || p.Status.Message != "Pod was rejected: SupplementalGroupsPolicy=Strict is not supported in this node" {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
}
