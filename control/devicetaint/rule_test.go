package devicetaint

import (
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.Pod{}, &resource.ResourceClaim{}, &resource.ResourceSlice{}, &resource.DeviceTaintRule{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		put := func(ns, name, device string, seconds *int64) {
			p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(name)}}
			p.Spec.NodeName, p.Spec.ResourceClaims = "n", []core.PodResourceClaim{{Name: "c", ResourceClaimName: &name}}
			claim := &resource.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
			r := resource.DeviceRequestAllocationResult{Driver: "d", Pool: "n", Device: device}
			if seconds != nil {
				r.Tolerations = []resource.DeviceToleration{{Operator: resource.DeviceTolerationOpExists, Effect: resource.DeviceTaintEffectNoExecute, TolerationSeconds: seconds}}
			}
			claim.Status.Allocation = &resource.AllocationResult{Devices: resource.DeviceAllocationResult{Results: []resource.DeviceRequestAllocationResult{r}}}
			claim.Status.ReservedFor = []resource.ResourceClaimConsumerReference{{Resource: "pods", Name: name, UID: p.UID}}
			a.Put(claim, p)
		}
		minute := int64(60)
		put("one", "a", "bad", nil)
		put("one", "b", "bad", &minute)
		put("two", "c", "good", nil)
		a.Put(&resource.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: resource.ResourceSliceSpec{
			Driver: "d", Pool: resource.ResourcePool{Name: "n", Generation: 1, ResourceSliceCount: 1}, Devices: []resource.Device{{Name: "good"}, {Name: "bad"}}}})
		pool, bad := "n", "bad"
		generation := int64(0)
		rule := func(effect resource.DeviceTaintEffect, sel *resource.DeviceTaintSelector) {
			r := &resource.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "r"}}
			if have, ok := client.Lookup[resource.DeviceTaintRule](a.View(), object.Key{Name: "r"}); ok {
				r = object.Clone(have)
			}
			generation++
			now := metav1.Now()
			r.Generation = generation
			r.Spec = resource.DeviceTaintRuleSpec{DeviceSelector: sel, Taint: resource.DeviceTaint{Key: "k", Effect: effect, TimeAdded: &now}}
			a.Put(r)
		}
		says := func(status metav1.ConditionStatus, reason, message string) {
			t.Helper()
			r, _ := client.Lookup[resource.DeviceTaintRule](a.View(), object.Key{Name: "r"})
			if len(r.Status.Conditions) != 1 {
				t.Fatalf("conditions %+v", r.Status.Conditions)
			}
			if got := r.Status.Conditions[0]; got.Status != status || got.Reason != reason || got.Message != message || got.ObservedGeneration != generation {
				t.Errorf("got %s %s %q of %d, want %s %s %q of %d", got.Status, got.Reason, got.Message, got.ObservedGeneration, status, reason, message, generation)
			}
		}
		stay := func(want string) {
			t.Helper()
			got := ""
			for _, p := range client.ListOf[core.Pod](a.View(), client.Select{}) {
				if p.DeletionTimestamp == nil { // the rest of the way is its kubelet's
					got += p.Name
				}
			}
			if got != want {
				t.Errorf("pods %q stay, want %q", got, want)
			}
		}
		const again = " if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."
		rule(resource.DeviceTaintEffectNone, &resource.DeviceTaintSelector{Pool: &pool})
		time.Sleep(time.Second)
		says("False", "NoEffect", "2 published devices selected. 3 allocated devices selected. 3 pods would be evicted in 2 different namespaces"+again)
		rule(resource.DeviceTaintEffectNone, &resource.DeviceTaintSelector{Pool: &pool, Device: &bad})
		time.Sleep(time.Second)
		says("False", "NoEffect", "1 published device selected. 2 allocated devices selected. 2 pods would be evicted in 1 namespace"+again)
		rule(resource.DeviceTaintEffectNoSchedule, &resource.DeviceTaintSelector{})
		time.Sleep(time.Second)
		says("False", "OtherEffect", "Eviction only happens for the NoExecute effect.")
		rule(resource.DeviceTaintEffectNoExecute, nil)
		time.Sleep(time.Second)
		says("False", "NotStarted", "")
		stay("abc")
		rule(resource.DeviceTaintEffectNoExecute, &resource.DeviceTaintSelector{Device: &bad})
		time.Sleep(11 * time.Second)
		stay("bc")
		says("True", "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace. 1 pod evicted since starting the controller.")
		time.Sleep(65 * time.Second)
		stay("c")
		says("False", "Completed", "2 pods evicted since starting the controller.")
		rule(resource.DeviceTaintEffectNoExecute, &resource.DeviceTaintSelector{})
		time.Sleep(time.Second)
		stay("")
	})
}
