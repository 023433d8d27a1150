package localvolume

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	kinds "proa.dev/kinds/storage"
	"proa.dev/object"
)

type world struct {
	*controltest.API
	t *testing.T
}

func start(t *testing.T) world {
	a := controltest.New(t)
	a.Serve(&core.PersistentVolume{}, &core.PersistentVolumeClaim{}, &core.Node{}, &storage.StorageClass{}, &storage.CSIDriver{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	w := world{a, t}
	w.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{core.LabelHostname: "n1"}, Annotations: map[string]string{kinds.LocalQuota: "project"}}})
	return w
}

func claim(change func(*core.PersistentVolumeClaim)) *core.PersistentVolumeClaim {
	class := Class
	c := &core.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", UID: "u1", Annotations: map[string]string{provisioner: kinds.LocalDriver, selectedNode: "n1"}},
		Spec: core.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
			Resources: core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if change != nil {
		change(c)
	}
	return c
}

func get[T any, P object.Ptr[T]](w world, key object.Key) P {
	time.Sleep(time.Second)
	o, _ := client.Lookup[T, P](w.View(), key)
	return o
}

func (w world) claim() *core.PersistentVolumeClaim {
	return get[core.PersistentVolumeClaim](w, object.Key{Namespace: "default", Name: "c"})
}

func (w world) volume() *core.PersistentVolume {
	c := w.claim()
	return get[core.PersistentVolume](w, object.Key{Name: volumeName(c)})
}

func (w world) node() *core.Node { return get[core.Node](w, object.Key{Name: "n1"}) }

func TestLifeOfAVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		if s := get[storage.StorageClass](w, object.Key{Name: Class}); s == nil || s.Provisioner != kinds.LocalDriver || !*s.AllowVolumeExpansion {
			t.Errorf("the class is %+v", s)
		}
		w.Put(claim(nil))
		v := w.volume()
		if v == nil || v.Spec.CSI.VolumeAttributes[kinds.LocalSize] != "1073741824" || hostOf(v) != "n1" || v.Spec.ClaimRef.Name != "c" ||
			v.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
			t.Fatalf("the volume is %+v", v)
		}
		c := object.Clone(w.claim())
		c.Spec.VolumeName, c.Status.Phase, c.Status.Capacity = v.Name, core.ClaimBound, core.ResourceList{core.ResourceStorage: resource.MustParse("1Gi")}
		c.Spec.Resources.Requests[core.ResourceStorage] = resource.MustParse("3Gi")
		w.Put(c)
		if size := w.volume().Spec.Capacity[core.ResourceStorage]; size.String() != "3Gi" {
			t.Errorf("the volume did not grow: %s", size.String())
		}
		if got := w.claim().Status.Conditions; len(got) != 1 || got[0].Type != core.PersistentVolumeClaimFileSystemResizePending {
			t.Errorf("the claim says %v", got)
		}
		v = object.Clone(w.volume())
		v.Status.Phase = core.VolumeReleased
		w.Remove(w.claim())
		w.Put(v)
		if v = get[core.PersistentVolume](w, object.Key{Name: v.Name}); v == nil || v.DeletionTimestamp == nil {
			t.Fatalf("not deleted: %+v", v)
		}
		if got := w.node().Annotations[kinds.LocalRemove]; got != v.Name {
			t.Errorf("the node is asked to remove %q", got)
		}
		n := object.Clone(w.node())
		n.Annotations[kinds.LocalRemoved] = v.Name
		w.Put(n)
		if get[core.PersistentVolume](w, object.Key{Name: v.Name}) != nil {
			t.Error("the volume stays although its files are gone")
		}
		if got := w.node().Annotations[kinds.LocalRemove]; got != "" {
			t.Errorf("the node is still asked to remove %q", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	class := &storage.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: Class}, Provisioner: kinds.LocalDriver, Parameters: map[string]string{capacity: "enforced"}}
	n := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{kinds.LocalQuota: "project"}}}
	none := object.Clone(n)
	none.Annotations[kinds.LocalQuota] = "none"
	without := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	for name, c := range map[string]struct {
		claim *core.PersistentVolumeClaim
		node  *core.Node
		want  string
		again bool // the scheduler is to choose again
	}{
		"block": {claim(func(c *core.PersistentVolumeClaim) { c.Spec.VolumeMode = new(core.PersistentVolumeBlock) }), n, "block volumes are not supported", false},
		"many":  {claim(func(c *core.PersistentVolumeClaim) { c.Spec.AccessModes[0] = core.ReadWriteMany }), n, "access mode ReadWriteMany is not supported", false},
		"quota": {claim(nil), none, "no size can be enforced", true},
		"off":   {claim(nil), without, "node n1 has no local volumes", true},
		"gone":  {claim(nil), nil, "node n1 is gone", true},
	} {
		changes := planClaim(c.claim, class, c.node, nil, nil)
		if len(changes) != 1 || !strings.Contains(changes[0].Said.Format, c.want) || changes[0].Said.Reason != "ProvisioningFailed" {
			t.Errorf("%s: %+v", name, changes)
			continue
		}
		if again := changes[0].Op == control.Update; again != c.again || again && changes[0].Object.GetAnnotations()[selectedNode] != "" {
			t.Errorf("%s: %+v", name, changes[0])
		}
	}
	if changes := planClaim(claim(nil), class, n, nil, nil); len(changes) != 1 || changes[0].Object.(*core.PersistentVolume).Spec.CSI.VolumeAttributes[kinds.LocalEnforce] != "true" {
		t.Errorf("%+v", changes)
	}
}

func TestRetainedFilesStay(t *testing.T) {
	v := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v", Finalizers: []string{finalizer}, DeletionTimestamp: &metav1.Time{Time: time.Now()}}}
	v.Spec.PersistentVolumeReclaimPolicy = core.PersistentVolumeReclaimRetain
	changes := planVolume(v, func(string) *core.Node { t.Error("the node is asked"); return nil })
	if len(changes) != 1 || len(changes[0].Object.GetFinalizers()) > 0 {
		t.Errorf("%+v", changes)
	}
}

// A copy of a claim is made by the node of its volume before it has a volume itself; so long the source stays.
func TestLifeOfACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", Labels: map[string]string{core.LabelHostname: "n2"}, Annotations: map[string]string{kinds.LocalQuota: "none"}}})
		w.Put(claim(nil))
		source := w.volume()
		copyOf := func(node string) *core.PersistentVolumeClaim {
			return claim(func(c *core.PersistentVolumeClaim) {
				c.Name, c.UID, c.Annotations[selectedNode] = "copy", "u2", node
				c.Spec.DataSource = &core.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "c"}
			})
		}
		orders := func() map[string]kinds.LocalOrder { return kinds.LocalOrders(w.node()) }
		made := func() *core.PersistentVolume { return get[core.PersistentVolume](w, object.Key{Name: "pvc-u2"}) }
		w.Put(copyOf("n2"))
		if len(orders()) != 0 || made() != nil {
			t.Fatalf("a copy of what has no volume yet: %v", orders())
		}
		bound := object.Clone(w.claim())
		bound.Spec.VolumeName, bound.Status.Phase = source.Name, core.ClaimBound
		w.Put(bound) // wakes the copy, for which the scheduler has chosen a node without the source
		key := object.Key{Namespace: "default", Name: "copy"}
		if c := get[core.PersistentVolumeClaim](w, key); c.Annotations[selectedNode] != "" || len(orders()) != 0 {
			t.Fatalf("on the wrong node: %v, %v", c.Annotations, orders())
		}
		w.Put(copyOf("n1"))
		want := kinds.LocalOrder{From: source.Name, Bytes: 1 << 30, Claim: "default/copy"}
		if got := orders()["pvc-u2"]; got != want || made() != nil {
			t.Fatalf("ordered %+v, want %+v", got, want)
		}
		gone := object.Clone(source)
		gone.DeletionTimestamp, gone.Status.Phase = &metav1.Time{Time: time.Now()}, core.VolumeReleased
		if changes := planVolume(gone, func(string) *core.Node { return w.node() }); len(changes) != 0 {
			t.Errorf("the source goes while it is copied: %+v", changes)
		}
		answer := func(text string) {
			n := object.Clone(w.node())
			n.Annotations[kinds.LocalCopied] = text
			w.Put(n)
		}
		answer(`{"pvc-u2":"no space left on device"}`)
		if made() != nil || len(orders()) != 1 {
			t.Errorf("after a failure: %v", orders())
		}
		answer(`{"pvc-u2":""}`)
		if v := made(); v == nil || hostOf(v) != "n1" || v.Spec.CSI.VolumeHandle != "pvc-u2" {
			t.Fatalf("the copy is %+v", v)
		}
		w.Put(object.Clone(w.node())) // whatever happens next
		if len(orders()) != 0 {
			t.Errorf("still ordered: %v", orders())
		}
	})
}

// A copy that nobody wants any more is dropped by the node.
func TestUnwantedCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		n := object.Clone(w.node())
		n.Annotations[kinds.LocalCopy] = `{"pvc-u9":{"from":"pvc-u1","bytes":1,"claim":"default/gone"}}`
		w.Put(n)
		if o := kinds.LocalOrders(w.node())["pvc-u9"]; !o.Drop {
			t.Fatalf("not dropped: %+v", o)
		}
		n = object.Clone(w.node())
		n.Annotations[kinds.LocalCopied] = `{"pvc-u9":"-"}`
		w.Put(n)
		if got := w.node().Annotations[kinds.LocalCopy]; got != "" {
			t.Errorf("still ordered: %s", got)
		}
	})
}
