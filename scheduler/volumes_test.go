package scheduler

import (
	"strings"
	"testing"
	"testing/synctest"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	kinds "proa.dev/kinds/storage"
	"proa.dev/object"
)

func pvcOf(name, class, size string, change func(*core.PersistentVolumeClaim)) *core.PersistentVolumeClaim {
	c := &core.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: core.PersistentVolumeClaimSpec{
		StorageClassName: &class, AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
		Resources: core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: resource.MustParse(size)}},
	}}
	if change != nil {
		change(c)
	}
	return c
}

func pvOf(name, class, size, node string) *core.PersistentVolume {
	v := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: core.PersistentVolumeSpec{
		StorageClassName: class, AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
		Capacity: core.ResourceList{core.ResourceStorage: resource.MustParse(size)},
	}, Status: core.PersistentVolumeStatus{Phase: core.VolumeAvailable}}
	if node != "" {
		v.Spec.NodeAffinity = &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
			MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node}}},
		}}}}
	}
	return v
}

func classOf(name, provisioner string) *storage.StorageClass {
	return &storage.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: new(storage.VolumeBindingWaitForFirstConsumer)}
}

func boundTo(volume string) func(*core.PersistentVolumeClaim) {
	return func(c *core.PersistentVolumeClaim) { c.Spec.VolumeName, c.Status.Phase = volume, core.ClaimBound }
}

func csiVolume(name string) *core.PersistentVolume {
	v := pvOf(name, "made", "1Gi", "")
	v.Spec.CSI = &core.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: name}
	return v
}

func TestFreeVolumesAreChosenWithTheNode(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.Put(mkNode("a"), mkNode("b"), classOf("local", noProvisioner), pvOf("small-b", "local", "1Gi", "b"), pvOf("big-b", "local", "9Gi", "b"), pvOf("big-a", "local", "9Gi", "a"),
			pvcOf("one", "local", "1Gi", nil), pvcOf("two", "local", "2Gi", nil), pvcOf("three", "local", "8Gi", nil))
		synctest.Wait()
		w.Put(mkPod("p", claim("two"), claim("one"))) // only b has two
		synctest.Wait()
		for volume, want := range map[string]string{"small-b": "one", "big-b": "two", "big-a": ""} {
			pv, _ := client.Lookup[core.PersistentVolume](w.View(), object.Key{Name: volume})
			got := ""
			if pv.Spec.ClaimRef != nil {
				got = pv.Spec.ClaimRef.Name
			}
			if got != want {
				t.Errorf("volume %s is for claim %q, want %q", volume, got, want)
			}
		}
		for _, name := range []string{"one", "two"} {
			c, _ := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: name})
			if c.Annotations[selectedNode] != "" {
				t.Errorf("claim %s is to be provisioned", name)
			}
			c = object.Clone(c)
			boundTo("v")(c)
			w.Put(c)
		}
		if got := w.where("p"); got != "b" {
			t.Errorf("p is on %q, want b; %s", got, w.message("p"))
		}
		w.Put(mkPod("q", claim("three")))
		synctest.Wait()
		pv, _ := client.Lookup[core.PersistentVolume](w.View(), object.Key{Name: "big-a"})
		if pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.Name != "three" {
			t.Errorf("big-a is for %v", pv.Spec.ClaimRef)
		}
	})
}

func TestVolumesKeepPodsAway(t *testing.T) {
	single := func(c *core.PersistentVolumeClaim) {
		boundTo("v1")(c)
		c.Spec.AccessModes = []core.PersistentVolumeAccessMode{core.ReadWriteOncePod}
	}
	csiNode := &storage.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: storage.CSINodeSpec{Drivers: []storage.CSINodeDriver{{
		Name: "d", NodeID: "a", Allocatable: &storage.VolumeNodeResources{Count: new(int32(1))},
	}}}}
	zoned := csiVolume("v2")
	zoned.Labels = map[string]string{core.LabelTopologyZone: "z1__z2"}
	there := mkPod("there", claim("c1"))
	there.Spec.NodeName = "a"
	small := resource.MustParse("1Gi")
	for name, c := range map[string]struct {
		objects []object.Object
		want    string // the message; "" is that it fits
	}{
		"one pod only":     {[]object.Object{csiVolume("v1"), pvcOf("c1", "made", "1Gi", single), pvcOf("c2", "made", "1Gi", single), there}, ""},
		"limit":            {[]object.Object{csiVolume("v1"), csiVolume("v2"), pvcOf("c1", "made", "1Gi", boundTo("v1")), pvcOf("c2", "made", "1Gi", boundTo("v2")), there, csiNode}, "node(s) exceed max volume count"},
		"shared":           {[]object.Object{csiVolume("v1"), pvcOf("c1", "made", "1Gi", boundTo("v1")), pvcOf("c2", "made", "1Gi", boundTo("v1")), there, csiNode}, ""},
		"zone":             {[]object.Object{zoned, pvcOf("c2", "made", "1Gi", boundTo("v2"))}, "node(s) had no available volume zone"},
		"nobody makes it":  {[]object.Object{classOf("none", noProvisioner), pvcOf("c2", "none", "1Gi", nil)}, "node(s) didn't find available persistent volumes to bind"},
		"chosen elsewhere": {[]object.Object{classOf("made", "d"), pvcOf("c2", "made", "1Gi", func(c *core.PersistentVolumeClaim) { c.Annotations = map[string]string{selectedNode: "x"} })}, "node(s) didn't match PersistentVolume's node affinity"},
		"no room": {[]object.Object{classOf("made", "d"), pvcOf("c2", "made", "2Gi", nil), &storage.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: storage.CSIDriverSpec{StorageCapacity: new(true)}},
			&storage.CSIStorageCapacity{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, NodeTopology: &metav1.LabelSelector{}, StorageClassName: "made", Capacity: &small}},
			"node(s) did not have enough free storage"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				n := mkNode("a")
				n.Labels[core.LabelTopologyZone] = "z9"
				w.Put(n)
				w.Put(c.objects...)
				synctest.Wait()
				w.Put(mkPod("p", claim("c2")))
				where, want := w.where("p"), "0/1 nodes are available: 1 "+c.want+"."
				if c.want == "" && where != "a" || c.want != "" && (where != "" || !strings.HasPrefix(w.message("p"), want)) {
					t.Errorf("p is on %q: %s", where, w.message("p"))
				}
			})
		})
	}
	inWorld(t, func(t *testing.T, w *world) {
		w.Put(mkNode("a"), mkNode("b"), csiVolume("v1"), pvcOf("c1", "made", "1Gi", single), there)
		synctest.Wait()
		w.Put(mkPod("p", claim("c1")))
		const want = "0/2 nodes are available: 2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod."
		if got := w.where("p"); got != "" || !strings.HasPrefix(w.message("p"), want) {
			t.Errorf("p is on %q: %s", got, w.message("p"))
		}
	})
}

// A local volume that is to be a copy of another can be on that one's node only.
func TestCopiesOfLocalVolumesStayWithThem(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		source := pvOf("pv", "disk", "1Gi", "b")
		source.Spec.ClaimRef, source.Status.Phase = &core.ObjectReference{Namespace: "default", Name: "source"}, core.VolumeBound
		w.Put(mkNode("a"), mkNode("b"), mkNode("c"), classOf("disk", kinds.LocalDriver), source, pvcOf("source", "disk", "1Gi", boundTo("pv")),
			pvcOf("copy", "disk", "1Gi", func(c *core.PersistentVolumeClaim) {
				c.Spec.DataSource = &core.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "source"}
			}))
		synctest.Wait()
		w.Put(mkPod("p", claim("copy")))
		synctest.Wait()
		c, _ := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: "copy"})
		if got := c.Annotations[selectedNode]; got != "b" {
			t.Errorf("to be made on %q, want b; %s", got, w.message("p"))
		}
	})
}
