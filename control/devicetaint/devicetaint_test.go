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

func TestPodsOfTaintedDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.Pod{}, &resource.ResourceClaim{}, &resource.ResourceSlice{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		long, never := int64(60), (*int64)(nil)
		tolerates := func(seconds *int64) []resource.DeviceToleration {
			return []resource.DeviceToleration{{Key: "k", Operator: resource.DeviceTolerationOpExists, Effect: resource.DeviceTaintEffectNoExecute, TolerationSeconds: seconds}}
		}
		put := func(name, device string, tolerations []resource.DeviceToleration) {
			p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
			p.Spec.NodeName, p.Spec.ResourceClaims = "n", []core.PodResourceClaim{{Name: "c", ResourceClaimName: &name}}
			claim := &resource.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
			claim.Status.Allocation = &resource.AllocationResult{Devices: resource.DeviceAllocationResult{Results: []resource.DeviceRequestAllocationResult{
				{Driver: "d", Pool: "n", Device: device, Tolerations: tolerations}}}}
			claim.Status.ReservedFor = []resource.ResourceClaimConsumerReference{{Resource: "pods", Name: name, UID: p.UID}}
			a.Put(claim, p)
		}
		put("none", "bad", nil)
		put("minute", "bad", tolerates(&long))
		put("forever", "bad", tolerates(never))
		put("other", "good", nil)
		slice := func(generation int64, effect resource.DeviceTaintEffect) *resource.ResourceSlice {
			now := metav1.Now()
			return &resource.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: resource.ResourceSliceSpec{
				Driver: "d", Pool: resource.ResourcePool{Name: "n", Generation: generation, ResourceSliceCount: 1},
				Devices: []resource.Device{{Name: "good"}, {Name: "bad", Taints: []resource.DeviceTaint{{Key: "k", Effect: effect, TimeAdded: &now}}}}}}
		}
		left := func(want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			for _, name := range []string{"none", "minute", "forever", "other"} {
				p, ok := client.Lookup[core.Pod](a.View(), object.Key{Namespace: "default", Name: name})
				got := ok && p.DeletionTimestamp == nil // the rest of the way is its kubelet's
				expected := false
				for _, w := range want {
					expected = expected || w == name
				}
				if got != expected {
					t.Errorf("pod %s stays: %v", name, got)
				}
			}
		}
		a.Put(slice(1, resource.DeviceTaintEffectNoSchedule))
		left("none", "minute", "forever", "other")
		a.Put(slice(2, resource.DeviceTaintEffectNoExecute))
		left("minute", "forever", "other")
		time.Sleep(50 * time.Second)
		left("minute", "forever", "other")
		time.Sleep(15 * time.Second)
		left("forever", "other")
	})
}
