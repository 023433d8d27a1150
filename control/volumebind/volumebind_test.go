package volumebind

import (
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
	"proa.dev/object"
)

func volume(name, size, class string, change func(*core.PersistentVolume)) *core.PersistentVolume {
	v := &core.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: core.PersistentVolumeSpec{
			Capacity: core.ResourceList{core.ResourceStorage: resource.MustParse(size)}, StorageClassName: class,
			AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce}, PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimRetain,
		},
	}
	if change != nil {
		change(v)
	}
	return v
}

func claim(name, size, class string, change func(*core.PersistentVolumeClaim)) *core.PersistentVolumeClaim {
	c := &core.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: core.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
			Resources: core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: resource.MustParse(size)}},
		},
	}
	if change != nil {
		change(c)
	}
	return c
}

type world struct {
	*controltest.API
	t *testing.T
}

func start(t *testing.T) world {
	a := controltest.New(t)
	a.Serve(&core.PersistentVolume{}, &core.PersistentVolumeClaim{}, &core.Pod{}, &storage.StorageClass{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View()})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	return world{a, t}
}

// want checks what a claim is bound to ("" is: it is Pending) and the phase of that volume.
func (w world) want(name, bound string) {
	w.t.Helper()
	time.Sleep(time.Second)
	c, ok := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: name})
	if !ok {
		w.t.Fatalf("claim %s is gone", name)
	}
	phase := core.ClaimBound
	if bound == "" {
		phase = core.ClaimPending
	}
	if c.Status.Phase != phase || c.Spec.VolumeName != bound {
		w.t.Errorf("claim %s is %s to %q, want %s to %q", name, c.Status.Phase, c.Spec.VolumeName, phase, bound)
	}
	if bound != "" {
		w.phase(bound, core.VolumeBound)
	}
}

func (w world) phase(name string, want core.PersistentVolumePhase) {
	w.t.Helper()
	v, ok := client.Lookup[core.PersistentVolume](w.View(), object.Key{Name: name})
	if !ok || v.Status.Phase != want {
		w.t.Errorf("volume %s: got %v, want %s", name, v, want)
	}
}

func TestSmallestThatFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(volume("big", "10Gi", "", nil), volume("medium", "2Gi", "", nil), volume("small", "1Gi", "", nil), volume("fast", "2Gi", "fast", nil))
		time.Sleep(time.Second)
		w.phase("medium", core.VolumeAvailable)
		w.Put(claim("a", "2Gi", "", nil))
		w.want("a", "medium")
		w.Put(claim("b", "2Gi", "", nil))
		w.want("b", "big")
		w.Put(claim("c", "2Gi", "", nil))
		w.want("c", "")
		w.Put(volume("late", "3Gi", "", nil))
		w.want("c", "late")
		w.Put(claim("d", "1Gi", "fast", nil))
		w.want("d", "fast")
		w.Put(claim("e", "1Gi", "", func(c *core.PersistentVolumeClaim) {
			c.Spec.AccessModes = []core.PersistentVolumeAccessMode{core.ReadWriteMany}
		}))
		w.want("e", "")
	})
}

func TestNamedSelectedAndReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(
			volume("reserved", "1Gi", "", func(v *core.PersistentVolume) {
				v.Spec.ClaimRef = &core.ObjectReference{Namespace: "default", Name: "mine"}
			}),
			volume("labelled", "5Gi", "", func(v *core.PersistentVolume) { v.Labels = map[string]string{"tier": "db"} }),
			volume("named", "7Gi", "", nil),
		)
		w.Put(claim("named", "1Gi", "", func(c *core.PersistentVolumeClaim) { c.Spec.VolumeName = "named" }))
		w.want("named", "named")
		w.Put(claim("other", "1Gi", "", func(c *core.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "web"}}
		}))
		w.want("other", "")
		w.Put(claim("mine", "1Gi", "", nil))
		w.want("mine", "reserved")
		w.Put(claim("db", "1Gi", "", func(c *core.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "db"}}
		}))
		w.want("db", "labelled")
	})
}

// A volume that names its claim is the claim's, whatever class either has.
func TestMeantInAnotherClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		v := volume("v", "1Gi", "fast", nil)
		v.Spec.ClaimRef = &core.ObjectReference{Namespace: "default", Name: "a"}
		w.Put(v, claim("a", "1Gi", "slow", nil))
		w.want("a", "v")
	})
}

func TestProtectionAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(volume("v", "1Gi", "", nil), claim("c", "1Gi", "", nil))
		w.want("c", "v")
		p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: core.PodSpec{
			NodeName: "n1",
			Volumes: []core.Volume{{Name: "data", VolumeSource: core.VolumeSource{
				PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "c"},
			}}},
		}}
		w.Put(p)
		for _, err := range []error{
			client.Delete[core.PersistentVolumeClaim](t.Context(), w.Client(), object.Key{Namespace: "default", Name: "c"}, ""),
			client.Delete[core.PersistentVolume](t.Context(), w.Client(), object.Key{Name: "v"}, ""),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if _, ok := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: "c"}); !ok {
			t.Fatal("a claim in use is gone")
		}
		w.phase("v", core.VolumeBound)
		w.Remove(p)
		time.Sleep(time.Second)
		if _, ok := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: "c"}); ok {
			t.Error("the claim is still there although nobody uses it")
		}
		if _, ok := client.Lookup[core.PersistentVolume](w.View(), object.Key{Name: "v"}); ok {
			t.Error("the volume is still there although nothing is bound to it")
		}
	})
}

func TestReleasedIsNotReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(volume("v", "1Gi", "", nil), claim("c", "1Gi", "", nil))
		w.want("c", "v")
		if err := client.Delete[core.PersistentVolumeClaim](t.Context(), w.Client(), object.Key{Namespace: "default", Name: "c"}, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.phase("v", core.VolumeReleased)
		w.Put(claim("c", "1Gi", "", nil))
		w.want("c", "")
	})
}

func TestWaitsForFirstConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(&storage.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local"}, Provisioner: noProvisioner, VolumeBindingMode: new(storage.VolumeBindingWaitForFirstConsumer)})
		w.Put(volume("v", "1Gi", "local", nil), claim("c", "1Gi", "local", nil))
		w.want("c", "")
		w.Put(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: core.PodSpec{
			Volumes: []core.Volume{{Name: "data", VolumeSource: core.VolumeSource{
				PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "c"},
			}}},
		}})
		w.want("c", "") // the scheduler chooses
		v, _ := client.Lookup[core.PersistentVolume](w.View(), object.Key{Name: "v"})
		v = object.Clone(v)
		v.Spec.ClaimRef = &core.ObjectReference{Namespace: "default", Name: "c"}
		w.Put(v)
		w.want("c", "v")
	})
}

func TestProvisionerIsAskedOnceTheNodeIsChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(&storage.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "made"}, Provisioner: "example.com/maker", VolumeBindingMode: new(storage.VolumeBindingWaitForFirstConsumer)})
		w.Put(claim("c", "1Gi", "made", nil))
		w.want("c", "")
		look := func() *core.PersistentVolumeClaim {
			c, _ := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: "c"})
			return c
		}
		if a := look().Annotations; a[provisionerKey] != "" {
			t.Errorf("asked too early: %v", a)
		}
		c := object.Clone(look())
		annotate(c, selectedNode, "n1")
		w.Put(c)
		w.want("c", "")
		if a := look().Annotations; a[provisionerKey] != "example.com/maker" || a[provisionerBeta] != "example.com/maker" {
			t.Errorf("not asked: %v", a)
		}
	})
}

func TestClassThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(claim("c", "1Gi", "", func(c *core.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }))
		w.want("c", "")
		w.Put(&storage.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "std", Annotations: map[string]string{defaultClass: "true"}}, Provisioner: "example.com/maker"})
		w.want("c", "")
		c, _ := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: "c"})
		if c.Spec.StorageClassName == nil || *c.Spec.StorageClassName != "std" {
			t.Errorf("its class is %v", c.Spec.StorageClassName)
		}
	})
}

func TestVolumesThatNobodyTakesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		for name, policy := range map[string]core.PersistentVolumeReclaimPolicy{"d": core.PersistentVolumeReclaimDelete, "r": core.PersistentVolumeReclaimRecycle} {
			w.Put(volume(name, "1Gi", name, func(v *core.PersistentVolume) { v.Spec.PersistentVolumeReclaimPolicy = policy }), claim(name, "1Gi", name, nil))
			w.want(name, name)
			c, _ := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: name})
			w.Remove(c)
			time.Sleep(time.Second)
			w.phase(name, core.VolumeFailed)
		}
	})
}

func TestLostVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.Put(volume("v", "1Gi", "", nil), claim("c", "1Gi", "", nil))
		w.want("c", "v")
		v, _ := client.Lookup[core.PersistentVolume](w.View(), object.Key{Name: "v"})
		w.Remove(v)
		time.Sleep(time.Second)
		c, _ := client.Lookup[core.PersistentVolumeClaim](w.View(), object.Key{Namespace: "default", Name: "c"})
		if c.Status.Phase != core.ClaimLost {
			t.Errorf("phase %s, want Lost", c.Status.Phase)
		}
	})
}
