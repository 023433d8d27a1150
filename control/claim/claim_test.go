package claim

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func follow(t *testing.T, fn func(t *testing.T, a *controltest.API)) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.Pod{}, &core.Event{}, &resource.ResourceClaim{}, &resource.ResourceClaimTemplate{})
		events := record.New(a.Client(), "resource_claim", "")
		c, err := New(control.Deps{Client: a.Client(), View: a.View(), Events: events})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, events.Run)
		controltest.Run(t, c.Run)
		fn(t, a)
	})
}

func mkPod(name string) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}}
	t := "tmpl"
	p.Spec.ResourceClaims = []core.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: &t}}
	return p
}

func template() *resource.ResourceClaimTemplate {
	t := &resource.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "tmpl"}}
	t.Spec.Labels = map[string]string{"a": "b"}
	t.Spec.Spec.Devices.Requests = []resource.DeviceRequest{{Name: "r", Exactly: &resource.ExactDeviceRequest{DeviceClassName: "c"}}}
	return t
}

func claims(a *controltest.API) []*resource.ResourceClaim {
	time.Sleep(time.Second)
	return client.ListOf[resource.ResourceClaim](a.View(), client.Select{})
}

func pod(a *controltest.API, name string) *core.Pod {
	p, _ := client.Lookup[core.Pod](a.View(), object.Key{Namespace: "default", Name: name})
	return p
}

func TestClaimsAreMadeOfTemplates(t *testing.T) {
	follow(t, func(t *testing.T, a *controltest.API) {
		a.Put(mkPod("p"))
		if n := len(claims(a)); n != 0 {
			t.Fatalf("%d claims without a template", n)
		}
		said := false
		for _, e := range client.ListOf[core.Event](a.View(), client.Select{}) {
			said = said || e.Reason == "FailedResourceClaimCreation" && strings.HasPrefix(e.Message, `PodResourceClaim gpu: resource claim template "tmpl": `)
		}
		if !said {
			t.Error("nobody was told of the missing template")
		}
		a.Put(template())
		all := claims(a)
		if len(all) != 1 {
			t.Fatalf("%d claims", len(all))
		}
		c := all[0]
		if !strings.HasPrefix(c.Name, "p-gpu-") || c.Labels["a"] != "b" || c.Annotations[resource.PodResourceClaimAnnotation] != "gpu" ||
			!metav1.IsControlledBy(c, mkPod("p")) || c.Spec.Devices.Requests[0].Exactly.DeviceClassName != "c" {
			t.Errorf("got %+v", c)
		}
		s := pod(a, "p").Status.ResourceClaimStatuses
		if len(s) != 1 || s[0].Name != "gpu" || *s[0].ResourceClaimName != c.Name {
			t.Errorf("the pod says %+v", s)
		}
		a.Remove(c) // by accident
		if all = claims(a); len(all) != 1 || *pod(a, "p").Status.ResourceClaimStatuses[0].ResourceClaimName != all[0].Name {
			t.Errorf("made again: %d", len(all))
		}
	})
}

func TestLongNames(t *testing.T) {
	p := mkPod(strings.Repeat("p", 60))
	if got := fromTemplate(p, strings.Repeat("c", 30), template()).GenerateName; len(got) > maxBase || !strings.Contains(got, "p-c") {
		t.Errorf("got %s", got)
	}
}

// used is a claim of pods that is allocated.
func used(name string, by ...*core.Pod) *resource.ResourceClaim {
	c := &resource.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Finalizers: []string{resource.Finalizer}}}
	c.Status.Allocation = &resource.AllocationResult{}
	for _, p := range by {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resource.ResourceClaimConsumerReference{Resource: "pods", Name: p.Name, UID: p.UID})
	}
	return c
}

func named(name string, claim string) *core.Pod {
	p := mkPod(name)
	p.Spec.NodeName = "n"
	p.Spec.ResourceClaims = []core.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claim}}
	return p
}

func TestReservations(t *testing.T) {
	follow(t, func(t *testing.T, a *controltest.API) {
		p, q := named("p", "c"), named("q", "c")
		a.Put(p, q, used("c", p, mkPod("never-was")))
		users := func() (out []string) {
			for _, u := range claims(a)[0].Status.ReservedFor {
				out = append(out, u.Name)
			}
			slices.Sort(out)
			return out
		}
		if got := users(); !slices.Equal(got, []string{"p", "q"}) {
			t.Errorf("got %v: q came to its node without the scheduler", got)
		}
		done := object.Clone(pod(a, "p"))
		done.Status.Phase = core.PodSucceeded
		a.Put(done)
		if got := users(); !slices.Equal(got, []string{"q"}) {
			t.Errorf("got %v", got)
		}
		a.Remove(q)
		c := claims(a)[0]
		if c.Status.Allocation != nil || len(c.Status.ReservedFor) > 0 || len(c.Finalizers) > 0 {
			t.Errorf("unused, but still %+v with %v", c.Status, c.Finalizers)
		}
	})
}

func TestClaimsThatAreDeleted(t *testing.T) {
	follow(t, func(t *testing.T, a *controltest.API) {
		now := metav1.Now()
		p := named("p", "used")
		busy, idle := used("used", p), used("idle")
		busy.DeletionTimestamp, idle.DeletionTimestamp = &now, &now
		a.Put(p, busy, idle)
		if all := claims(a); len(all) != 1 || all[0].Name != "used" || all[0].Status.Allocation == nil {
			t.Errorf("left: %v", all)
		}
	})
}

func TestClaimsOfPodsThatEndedGo(t *testing.T) {
	follow(t, func(t *testing.T, a *controltest.API) {
		a.Put(template(), mkPod("p"))
		if n := len(claims(a)); n != 1 {
			t.Fatal(n)
		}
		p := object.Clone(pod(a, "p"))
		p.Status.Phase = core.PodFailed
		a.Put(p)
		if all := claims(a); len(all) != 0 {
			t.Errorf("left: %v", all)
		}
	})
}
