package kubelet_test

import (
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/kubelet"
	"proa.dev/kubelet/shutdown"
	"proa.dev/kubelet/shutdown/logindtest"
	"proa.dev/object"
)

// When the machine goes down, pods end by their priority, and the machine waits for them.
func TestRealShutdown(t *testing.T) {
	m := newMachine(t)
	m.stop()
	l := logindtest.New(t, time.Second)
	m.conf = func(c *kubelet.NodeConfig) {
		c.Shutdown = shutdown.Config{Bus: l.Address, Conf: l.Conf, Periods: shutdown.Periods(24*time.Second, 12*time.Second)}
	}
	m.start()
	high := int32(2_000_000_000)
	vital := boxPod("vital", "sleep", "100s")
	vital.Spec.Priority, vital.Spec.PriorityClassName = &high, "system-cluster-critical"
	m.create(vital)
	plain := boxPod("plain", "stubborn") // it ends when it is killed
	one := int64(1)
	plain.Spec.TerminationGracePeriodSeconds = &one
	plain.Spec.Volumes = []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}}
	m.create(plain)
	done := boxPod("done", "exit", "0")
	done.Spec.RestartPolicy = core.RestartPolicyNever
	m.create(done)
	m.await("vital", "runs", isReady)
	m.await("plain", "runs", isReady)
	l.Lock()
	began := time.Now()
	l.Shutdown(true)
	ready := func() (core.ConditionStatus, string) {
		n, ok := client.Lookup[core.Node](m.api.View(), object.Key{Name: "n1"})
		for i := range n.Status.Conditions {
			if c := n.Status.Conditions[i]; ok && c.Type == core.NodeReady {
				return c.Status, c.Message
			}
		}
		return "", ""
	}
	poll(t, "a node that is not ready", func() bool {
		is, why := ready()
		return is == core.ConditionFalse && why == "node is shutting down"
	})
	m.create(boxPod("late", "sleep", "100s"))
	p := m.await("late", "is refused", func(p *core.Pod) bool { return p != nil && p.Status.Phase == core.PodFailed })
	if p.Status.Reason != "NodeShutdown" || p.Status.Message != "Pod was rejected: Pod was rejected as the node is shutting down." {
		t.Errorf("late: %s: %s", p.Status.Reason, p.Status.Message)
	}
	if l.Held(30 * time.Second) {
		t.Fatal("the machine still waits after 30 s")
	}
	if took := time.Since(began); took > 11*time.Second {
		t.Errorf("took %v, although all pods and volumes were gone before", took)
	}
	ends := map[string]time.Time{}
	for _, name := range []string{"plain", "vital"} {
		p := m.await(name, "has failed", func(p *core.Pod) bool { return p != nil && p.Status.Phase == core.PodFailed })
		if p.Status.Reason != "Terminated" || p.Status.Message != "Pod was terminated in response to imminent node shutdown." {
			t.Errorf("%s: %s: %s", name, p.Status.Reason, p.Status.Message)
		}
		var why string
		for _, c := range p.Status.Conditions {
			if c.Type == core.DisruptionTarget && c.Status == core.ConditionTrue {
				why = c.Reason + ": " + c.Message
			}
		}
		if why != "TerminationByKubelet: Pod was terminated in response to imminent node shutdown." {
			t.Errorf("%s: DisruptionTarget: %s", name, why)
		}
		if s := p.Status.ContainerStatuses; len(s) == 1 && s[0].State.Terminated != nil {
			ends[name] = s[0].State.Terminated.FinishedAt.Time
		} else {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if ends["vital"].Before(ends["plain"]) {
		t.Errorf("the vital pod ended at %v, before the plain one, at %v", ends["vital"], ends["plain"])
	}
	l.Shutdown(false)
	l.Lock()
	poll(t, "a node that is ready", func() bool { is, _ := ready(); return is == core.ConditionTrue })
	m.create(boxPod("after", "sleep", "100s"))
	m.await("after", "runs", isReady)
}
