package kubelet_test

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/client"
	"proa.dev/kubelet"
	"proa.dev/kubelet/evict"
	"proa.dev/object"
)

// A pod that fills its volume beyond its limit is ended; one that stays within it is not.
func TestRealVolumeTooFull(t *testing.T) {
	m := newMachine(t)
	volume := func(p *core.Pod) *core.Pod {
		limit := resource.MustParse("64Ki")
		p.Spec.Volumes = []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		p.Spec.Containers[0].VolumeMounts = []core.VolumeMount{{Name: "v", MountPath: "/v"}}
		return p
	}
	m.create(volume(boxPod("modest", "sleep", "100s")))
	m.create(volume(boxPod("greedy", "sleep", "100s")))
	m.await("modest", "runs", isReady)
	m.await("greedy", "runs", isReady)
	if out, err := m.exec("greedy", "box", "write", "/v/much", strings.Repeat("x", 100<<10)); err != nil {
		t.Fatalf("write: %v %s", err, out)
	}
	p := m.await("greedy", "is evicted", func(p *core.Pod) bool { return p.Status.Phase == core.PodFailed })
	if p.Status.Reason != "Evicted" || p.Status.Message != `Usage of EmptyDir volume "v" exceeds the limit "64Ki". ` {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	if p := m.await("modest", "still runs", isReady); p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("the modest pod was restarted")
	}
}

// When memory is short, pods go until it is not; what asks for nothing does not come back.
func TestRealMemoryShort(t *testing.T) {
	m := newMachine(t)
	high := int32(2_000_000_000)
	vital := boxPod("vital", "sleep", "100s")
	vital.Spec.Priority = &high
	vital.Spec.PriorityClassName = "system-cluster-critical"
	m.create(vital)
	m.create(boxPod("plain", "sleep", "100s"))
	m.await("vital", "runs", isReady)
	m.await("plain", "runs", isReady)
	m.stop()
	m.conf = func(c *kubelet.NodeConfig) {
		c.Eviction = evict.Config{Hard: map[string]string{"memory.available": "99%"}} // of any machine that runs this test
	}
	m.start()
	p := m.await("plain", "is evicted", func(p *core.Pod) bool { return p.Status.Phase == core.PodFailed })
	if p.Status.Reason != "Evicted" || !strings.HasPrefix(p.Status.Message, "The node was low on resource: memory. Threshold quantity: ") {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	var shown bool
	for _, c := range p.Status.Conditions {
		shown = shown || c.Type == core.DisruptionTarget && c.Status == core.ConditionTrue && c.Reason == core.PodReasonTerminationByKubelet && c.Message == p.Status.Message
	}
	if !shown {
		t.Errorf("no DisruptionTarget: %+v", p.Status.Conditions)
	}
	poll(t, "the node's MemoryPressure", func() bool {
		n, ok := client.Lookup[core.Node](m.api.View(), object.Key{Name: "n1"})
		for i := range n.Status.Conditions {
			if c := n.Status.Conditions[i]; ok && c.Type == core.NodeMemoryPressure {
				return c.Status == core.ConditionTrue
			}
		}
		return false
	})
	m.create(boxPod("late", "sleep", "100s"))
	p = m.await("late", "is refused", func(p *core.Pod) bool { return p.Status.Phase == core.PodFailed })
	if p.Status.Reason != "Evicted" || p.Status.Message != "Pod was rejected: The node had condition: [MemoryPressure]. " {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	m.await("vital", "still runs", isReady)
}
