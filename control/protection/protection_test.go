package protection

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestWhatIsInUseStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.PersistentVolume{}, &core.PersistentVolumeClaim{}, &core.Pod{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		now := metav1.Now()
		going := func(name string) metav1.ObjectMeta {
			return metav1.ObjectMeta{Namespace: "default", Name: name, DeletionTimestamp: &now, Finalizers: []string{claimFinalizer, "example.com/last"}}
		}
		user := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: core.PodSpec{NodeName: "n", Volumes: []core.Volume{
			{Name: "v", VolumeSource: core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "used"}}}}}}
		waits := object.Clone(user)
		waits.Name, waits.Spec.NodeName, waits.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = "q", "", "unused"
		bound := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "bound", DeletionTimestamp: &now, Finalizers: []string{volumeFinalizer, "example.com/last"}}}
		bound.Status.Phase = core.VolumeBound
		a.Put(user, waits, bound, &core.PersistentVolumeClaim{ObjectMeta: going("used")}, &core.PersistentVolumeClaim{ObjectMeta: going("unused")},
			&core.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "old"}})
		held := func(o object.Object, ok bool, finalizer string) bool {
			return ok && slices.Contains(o.GetFinalizers(), finalizer)
		}
		check := func(when string, want map[string]bool) {
			t.Helper()
			time.Sleep(time.Second)
			for name, want := range want {
				o, ok := client.Lookup[core.PersistentVolumeClaim](a.View(), object.Key{Namespace: "default", Name: name})
				if got := held(o, ok, claimFinalizer); got != want {
					t.Errorf("%s: claim %s is held: %v", when, name, got)
				}
			}
		}
		check("at first", map[string]bool{"used": true, "unused": false, "old": true})
		a.Remove(user)
		check("without its pod", map[string]bool{"used": false, "old": true})
		v, ok := client.Lookup[core.PersistentVolume](a.View(), object.Key{Name: "bound"})
		if !held(v, ok, volumeFinalizer) {
			t.Error("the bound volume is not held")
		}
		v = object.Clone(v)
		v.Status.Phase = core.VolumeReleased
		a.Put(v)
		time.Sleep(time.Second)
		if v, ok := client.Lookup[core.PersistentVolume](a.View(), object.Key{Name: "bound"}); held(v, ok, volumeFinalizer) {
			t.Error("the released volume is held")
		}
	})
}
