package ephemeral

import (
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

func TestClaimBelongsToItsPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.PersistentVolumeClaim{}, &core.Pod{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		look := func(name string) *core.PersistentVolumeClaim {
			time.Sleep(time.Second)
			claim, _ := client.Lookup[core.PersistentVolumeClaim](a.View(), object.Key{Namespace: "default", Name: name})
			return claim
		}
		a.Put(&core.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p-theirs"}})
		p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
		for _, name := range []string{"theirs", "mine"} {
			t := &core.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"of": name}}, Spec: core.PersistentVolumeClaimSpec{StorageClassName: new("fast")}}
			p.Spec.Volumes = append(p.Spec.Volumes, core.Volume{Name: name, VolumeSource: core.VolumeSource{Ephemeral: &core.EphemeralVolumeSource{VolumeClaimTemplate: t}}})
		}
		a.Put(p)
		mine := look("p-mine")
		if mine == nil || mine.Labels["of"] != "mine" || *mine.Spec.StorageClassName != "fast" {
			t.Fatalf("the claim is %+v", mine)
		}
		if ref := metav1.GetControllerOf(mine); ref == nil || ref.Kind != "Pod" || ref.Name != "p" {
			t.Errorf("it belongs to %v", ref)
		}
		if theirs := look("p-theirs"); theirs.Labels["of"] != "" {
			t.Error("somebody else's claim was taken")
		}
		a.Remove(mine)
		if look("p-mine") == nil {
			t.Error("a claim that was deleted does not come back")
		}
	})
}
