package attach

import (
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

type world struct {
	*controltest.API
	t *testing.T
}

func start(t *testing.T) world {
	a := controltest.New(t)
	a.Serve(&core.PersistentVolume{}, &core.PersistentVolumeClaim{}, &core.Pod{}, &core.Node{}, &storage.VolumeAttachment{}, &storage.CSIDriver{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	return world{a, t}
}

const inUse = core.UniqueVolumeName("kubernetes.io/csi/d^h1")

func node(name string, ready core.ConditionStatus) *core.Node {
	return &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: core.NodeStatus{Conditions: []core.NodeCondition{{Type: core.NodeReady, Status: ready}}}}
}

func volume(modes ...core.PersistentVolumeAccessMode) *core.PersistentVolume {
	return &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv1"}, Spec: core.PersistentVolumeSpec{
		AccessModes: modes, ClaimRef: &core.ObjectReference{Namespace: "default", Name: "c"},
		PersistentVolumeSource: core.PersistentVolumeSource{CSI: &core.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h1"}},
	}}
}

func claim() *core.PersistentVolumeClaim {
	return &core.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}, Spec: core.PersistentVolumeClaimSpec{VolumeName: "pv1"}}
}

func pod(name, node string) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: core.PodSpec{NodeName: node}}
	p.Spec.Volumes = []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
	return p
}

// attachment is the one to a node; nil if there is none, or if it is on its way out.
func (w world) attachment(node string) *storage.VolumeAttachment {
	time.Sleep(time.Second)
	a, ok := client.Lookup[storage.VolumeAttachment](w.View(), object.Key{Name: Name(volume().Spec.CSI, node)})
	if !ok {
		return nil
	}
	return a
}

func (w world) edit(name string, change func(*core.Node)) {
	n, _ := client.Lookup[core.Node](w.View(), object.Key{Name: name})
	n = object.Clone(n)
	change(n)
	w.Put(n)
}

func TestAttachAndDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(node("n1", core.ConditionTrue), node("n2", core.ConditionTrue), volume(core.ReadWriteOnce), claim(), pod("p", "n1"))
		a := w.attachment("n1")
		if a == nil || a.Spec.Attacher != "d" || a.Spec.NodeName != "n1" || *a.Spec.Source.PersistentVolumeName != "pv1" {
			t.Fatalf("the attachment is %+v", a)
		}
		a = object.Clone(a)
		a.Status.Attached = true
		w.Put(a)
		time.Sleep(time.Second)
		n, _ := client.Lookup[core.Node](w.View(), object.Key{Name: "n1"})
		if v := n.Status.VolumesAttached; len(v) != 1 || v[0].Name != inUse {
			t.Errorf("the node says that %v is attached", v)
		}
		w.edit("n1", func(n *core.Node) { n.Status.VolumesInUse = []core.UniqueVolumeName{inUse} })
		w.Put(pod("q", "n2"))
		if w.attachment("n2") != nil {
			t.Error("a volume for one node is attached to two")
		}
		w.Remove(pod("p", "n1"))
		if w.attachment("n1") == nil {
			t.Error("taken while it is in use")
		}
		w.edit("n1", func(n *core.Node) { n.Status.VolumesInUse = nil })
		if w.attachment("n1") != nil {
			t.Error("not taken when the kubelet let go")
		}
		if w.attachment("n2") == nil {
			t.Error("the pod that waited does not get it")
		}
	})
}

func TestSeveralNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(node("n1", core.ConditionTrue), node("n2", core.ConditionTrue), volume(core.ReadWriteMany), claim(), pod("p", "n1"), pod("q", "n2"))
		if w.attachment("n1") == nil || w.attachment("n2") == nil {
			t.Error("not attached to both")
		}
	})
}

func TestDriverThatDoesNotAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(&storage.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: storage.CSIDriverSpec{AttachRequired: new(false)}})
		w.Put(node("n1", core.ConditionTrue), volume(core.ReadWriteOnce), claim(), pod("p", "n1"))
		if w.attachment("n1") != nil {
			t.Error("attached")
		}
	})
}

func TestForce(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*core.Node)
		after  time.Duration
	}{
		"out of service": {func(n *core.Node) {
			n.Spec.Taints = []core.Taint{{Key: core.TaintNodeOutOfService, Effect: core.TaintEffectNoExecute}}
		}, time.Second},
		"unhealthy": {func(n *core.Node) { n.Status.Conditions[0].Status = core.ConditionUnknown }, 6*time.Minute + 2*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t)
				n := node("n1", core.ConditionTrue)
				n.Status.VolumesInUse = []core.UniqueVolumeName{inUse}
				w.Put(n, volume(core.ReadWriteOnce), claim(), pod("p", "n1"))
				w.attachment("n1")
				w.Remove(pod("p", "n1"))
				w.edit("n1", c.change)
				if c.after > time.Minute {
					if time.Sleep(c.after - 10*time.Second); w.attachment("n1") == nil {
						t.Error("taken too early")
					}
				}
				if time.Sleep(10 * time.Second); w.attachment("n1") != nil {
					t.Error("not taken")
				}
			})
		})
	}
}

func TestAttachmentsOfOthersAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(node("n1", core.ConditionTrue), volume(core.ReadWriteOnce))
		w.Put(&storage.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: storage.VolumeAttachmentSpec{Attacher: "d", NodeName: "n1", Source: storage.VolumeAttachmentSource{PersistentVolumeName: new("pv1")}}})
		time.Sleep(time.Minute)
		if _, ok := client.Lookup[storage.VolumeAttachment](w.View(), object.Key{Name: "mine"}); !ok {
			t.Error("deleted")
		}
	})
}

func TestWhoHasTheVolume(t *testing.T) {
	s := &state{
		name: "n2", node: node("n2", core.ConditionTrue), wants: []want{{volume(core.ReadWriteOnce), pod("q", "n2")}},
		elsewhere: func(string) []string { return []string{"n1"} }, since: map[string]time.Time{},
	}
	for _, c := range []struct {
		users []string
		want  string
	}{
		{nil, `Multi-Attach error for volume "pv1" Volume is already exclusively attached to one node and can't be attached to another`},
		{[]string{"a", "b"}, `Multi-Attach error for volume "pv1" Volume is already used by pod(s) a, b`},
	} {
		s.users = func(*core.PersistentVolume, []string) []string { return c.users }
		changes, _ := s.plan()
		if len(changes) != 1 || changes[0].Said.Format != c.want || changes[0].Op != tellOnly {
			t.Errorf("%+v, want %s", changes, c.want)
		}
	}
}
