package scheduler

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	res "k8s.io/api/resource/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

// withDevices is a world whose API has DRA: a class "gpu", and on each node named a slice with the devices "a" (model x) and "b" (model y).
func withDevices(t *testing.T, fn func(t *testing.T, w *world), nodes ...string) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{API: controltest.New(t), t: t}
		w.Serve(&core.Pod{}, &core.Node{}, &core.PersistentVolumeClaim{}, &core.PersistentVolume{}, &storage.StorageClass{}, &core.Namespace{}, &core.Event{},
			&res.ResourceClaim{}, &res.ResourceSlice{}, &res.DeviceClass{}, &res.DeviceTaintRule{})
		w.Put(gpuClass())
		for _, n := range nodes {
			w.Put(mkNode(n), slice(n))
		}
		var err error
		w.s, err = New(Deps{Client: w.Client(), View: w.View(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, w.s.Run)
		synctest.Wait()
		fn(t, w)
	})
}

func gpuClass() *res.DeviceClass {
	return &res.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: res.DeviceClassSpec{Selectors: []res.DeviceSelector{{
		CEL: &res.CELDeviceSelector{Expression: `device.driver == "gpu.example.com"`}}}}}
}

func slice(node string) *res.ResourceSlice {
	device := func(name, model string) res.Device {
		return res.Device{Name: name, Attributes: map[res.QualifiedName]res.DeviceAttribute{"model": {StringValue: &model}}}
	}
	return &res.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "gpus-" + node}, Spec: res.ResourceSliceSpec{
		Driver: "gpu.example.com", NodeName: &node, Pool: res.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1},
		Devices: []res.Device{device("a", "x"), device("b", "y")}}}
}

func exactly(class, model string, n int64) *res.ExactDeviceRequest {
	r := &res.ExactDeviceRequest{DeviceClassName: class, AllocationMode: res.DeviceAllocationModeExactCount, Count: n}
	if model != "" {
		r.Selectors = []res.DeviceSelector{{CEL: &res.CELDeviceSelector{Expression: fmt.Sprintf(`device.attributes["gpu.example.com"].model == %q`, model)}}}
	}
	return r
}

func mkClaim(name string, requests ...res.DeviceRequest) *res.ResourceClaim {
	return &res.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: res.ResourceClaimSpec{Devices: res.DeviceClaim{Requests: requests}}}
}

func oneOf(class, model string) res.DeviceRequest {
	return res.DeviceRequest{Name: "r", Exactly: exactly(class, model, 1)}
}

func claiming(names ...string) func(*core.Pod) {
	return func(p *core.Pod) {
		for _, n := range names {
			p.Spec.ResourceClaims = append(p.Spec.ResourceClaims, core.PodResourceClaim{Name: n, ResourceClaimName: &n})
		}
	}
}

// got is what a claim has and who uses it: "n1/a for p".
func (w *world) got(name string) string {
	w.t.Helper()
	synctest.Wait()
	c, ok := client.Lookup[res.ResourceClaim](w.View(), object.Key{Namespace: "default", Name: name})
	if !ok {
		return "no claim"
	}
	if c.Status.Allocation == nil {
		return "nothing"
	}
	var out []string
	for _, r := range c.Status.Allocation.Devices.Results {
		out = append(out, r.Request+"="+r.Pool+"/"+r.Device)
	}
	for _, u := range c.Status.ReservedFor {
		out = append(out, "for "+u.Name)
	}
	if !slices.Contains(c.Finalizers, res.Finalizer) {
		out = append(out, "without finalizer")
	}
	return strings.Join(out, " ")
}

func TestClaimsGetDevices(t *testing.T) {
	withDevices(t, func(t *testing.T, w *world) {
		w.Put(mkClaim("y", oneOf("gpu", "y")), mkPod("p", claiming("y")))
		if at := w.where("p"); at == "" {
			t.Fatal("not scheduled:", w.message("p"))
		}
		if got, want := w.got("y"), "r="+w.where("p")+"/b for p"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		// The other node has the only such device left; after that there is none.
		w.Put(mkClaim("y2", oneOf("gpu", "y")), mkPod("q", claiming("y2")))
		if a, b := w.where("p"), w.where("q"); a == b || b == "" {
			t.Errorf("p is on %s, q on %s", a, b)
		}
		w.Put(mkClaim("y3", oneOf("gpu", "y")), mkPod("r", claiming("y3")))
		if got, want := w.message("r"), "0/2 nodes are available: 2 cannot allocate all claims."; !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		// A pod that shares a claim goes where its devices are.
		w.Put(mkPod("s", claiming("y")))
		if a, b := w.where("p"), w.where("s"); a != b {
			t.Errorf("p is on %s, s on %s", a, b)
		}
		if got := w.got("y"); !strings.HasSuffix(got, "for p for s") {
			t.Errorf("got %s", got)
		}
	}, "n1", "n2")
}

func TestClaimsThatWait(t *testing.T) {
	withDevices(t, func(t *testing.T, w *world) {
		w.Put(mkPod("p", claiming("later")))
		synctest.Wait()
		if n := len(client.ListOf[core.Event](w.View(), client.Select{})); n != 0 {
			t.Errorf("%d events of a claim that is to come", n)
		}
		w.Put(mkClaim("later", oneOf("none", "")))
		time.Sleep(20 * time.Second)
		if got, want := w.message("p"), "0/1 nodes are available: request r: device class none does not exist."; !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		none := gpuClass()
		none.Name = "none"
		w.Put(none)
		time.Sleep(20 * time.Second)
		if w.where("p") == "" {
			t.Error("not scheduled:", w.message("p"))
		}
	}, "n1")
}

func TestRulesTaintDevices(t *testing.T) {
	withDevices(t, func(t *testing.T, w *world) {
		driver, device := "gpu.example.com", "a"
		rule := &res.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: res.DeviceTaintRuleSpec{
			DeviceSelector: &res.DeviceTaintSelector{Driver: &driver, Device: &device}, Taint: res.DeviceTaint{Key: "k", Effect: res.DeviceTaintEffectNoSchedule}}}
		other := object.Clone(rule)
		other.Name, other.Spec.DeviceSelector = "none", nil // selects nothing
		w.Put(rule, other, mkClaim("x", oneOf("gpu", "x")), mkClaim("y", oneOf("gpu", "y")))
		tolerant := mkClaim("tolerant", oneOf("gpu", "x"))
		tolerant.Spec.Devices.Requests[0].Exactly.Tolerations = []res.DeviceToleration{{Key: "k", Operator: res.DeviceTolerationOpExists}}
		w.Put(tolerant, mkPod("py", claiming("y")), mkPod("px", claiming("x")))
		time.Sleep(20 * time.Second)
		if w.where("py") == "" || w.where("px") != "" {
			t.Errorf("the device without taint: %q; with: %q", w.message("py"), w.where("px"))
		}
		w.Put(mkPod("pt", claiming("tolerant")))
		time.Sleep(20 * time.Second)
		if w.where("pt") == "" {
			t.Error("tolerated:", w.message("pt"))
		}
	}, "n1")
	withDevices(t, func(t *testing.T, w *world) {
		pool := "n1"
		rule := &res.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: res.DeviceTaintRuleSpec{
			DeviceSelector: &res.DeviceTaintSelector{Pool: &pool}, Taint: res.DeviceTaint{Key: "k", Effect: res.DeviceTaintEffectNoExecute}}}
		w.Put(rule, mkClaim("x", oneOf("gpu", "x")), mkPod("p", claiming("x")))
		time.Sleep(20 * time.Second)
		if on := w.where("p"); on != "" {
			t.Error("scheduled to", on)
		}
		rule = object.Clone(rule)
		rule.Spec.Taint.Effect = res.DeviceTaintEffectNone
		w.Put(rule)
		time.Sleep(20 * time.Second)
		if w.where("p") == "" {
			t.Error("after the change:", w.message("p"))
		}
	}, "n1")
}

func TestFirstAvailableAndAll(t *testing.T) {
	withDevices(t, func(t *testing.T, w *world) {
		sub := func(name, model string) res.DeviceSubRequest {
			e := exactly("gpu", model, 1)
			return res.DeviceSubRequest{Name: name, DeviceClassName: e.DeviceClassName, Selectors: e.Selectors, AllocationMode: e.AllocationMode, Count: 1}
		}
		w.Put(mkClaim("f", res.DeviceRequest{Name: "r", FirstAvailable: []res.DeviceSubRequest{sub("best", "z"), sub("good", "y")}}), mkPod("p", claiming("f")))
		if w.where("p") == "" {
			t.Fatal(w.message("p"))
		}
		if got, want := w.got("f"), "r/good=n1/b for p"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		all := res.DeviceRequest{Name: "all", Exactly: &res.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: res.DeviceAllocationModeAll}}
		w.Put(mkClaim("all", all), mkPod("q", claiming("all")))
		if got := w.where("q"); got != "" {
			t.Errorf("all devices although one is taken: on %s with %s", got, w.got("all"))
		}
	}, "n1")
}

func TestExtendedResourcesByClass(t *testing.T) {
	withDevices(t, func(t *testing.T, w *world) {
		c := gpuClass()
		c.Name = "ext"
		name := "example.com/gpu"
		c.Spec.ExtendedResourceName = &name
		w.Put(c)
		synctest.Wait()
		p := mkPod("p")
		q := resource.MustParse("2")
		p.Spec.Containers[0].Resources = core.ResourceRequirements{
			Requests: core.ResourceList{"example.com/gpu": q}, Limits: core.ResourceList{"example.com/gpu": q},
		}
		w.Put(p)
		if w.where("p") != "n1" {
			t.Fatal(w.message("p"))
		}
		now, _ := client.Lookup[core.Pod](w.View(), object.KeyOf(p))
		s := now.Status.ExtendedResourceClaimStatus
		if s == nil || len(s.RequestMappings) != 1 || s.RequestMappings[0] != (core.ContainerExtendedResourceRequest{
			ContainerName: "c", ResourceName: "example.com/gpu", RequestName: "container-0-request-0",
		}) {
			t.Fatalf("got %+v", s)
		}
		if got, want := w.got(s.ResourceClaimName), "container-0-request-0=n1/a container-0-request-0=n1/b for p"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		implicit := mkPod("i")
		implicit.Spec.Containers[0].Resources.Requests = core.ResourceList{core.ResourceName(res.ResourceDeviceClassPrefix + "gpu"): resource.MustParse("1")}
		w.Put(implicit)
		if got, want := w.message("i"), "0/1 nodes are available: 1 cannot allocate all claims."; !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}, "n1")
}

// A claim that holds devices where its pod cannot go is freed, and can be had elsewhere.
func TestUselessAllocationsAreFreed(t *testing.T) {
	withDevices(t, func(t *testing.T, w *world) {
		c := mkClaim("c", oneOf("gpu", "x"))
		c.Finalizers = []string{res.Finalizer}
		c.Status.Allocation = &res.AllocationResult{
			Devices:      res.DeviceAllocationResult{Results: []res.DeviceRequestAllocationResult{{Request: "r", Driver: "gpu.example.com", Pool: "gone", Device: "a"}}},
			NodeSelector: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{MatchFields: []core.NodeSelectorRequirement{{Key: "metadata.name", Operator: core.NodeSelectorOpIn, Values: []string{"gone"}}}}}},
		}
		w.Put(c, mkPod("p", claiming("c")))
		time.Sleep(20 * time.Second)
		if got, want := w.got("c"), "r=n1/a for p"; got != want || w.where("p") != "n1" {
			t.Errorf("got %s, want %s; pod on %q", got, want, w.where("p"))
		}
	}, "n1")
}

// A binding that is refused gives the reservation back.
func TestReservationsOfPodsThatAreNotBound(t *testing.T) {
	withDevices(t, func(t *testing.T, w *world) {
		w.Refuse(func(verb string, t client.Target, _ object.Object) error {
			if verb == "create" && t.Sub == "binding" {
				return fmt.Errorf("not now")
			}
			return nil
		})
		w.Put(mkClaim("c", oneOf("gpu", "x")), mkPod("p", claiming("c")))
		if got, want := w.got("c"), "r=n1/a"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		w.Refuse(func(string, client.Target, object.Object) error { return nil })
		time.Sleep(20 * time.Second)
		if got, want := w.got("c"), "r=n1/a for p"; got != want || w.where("p") != "n1" {
			t.Errorf("got %s, want %s; pod on %q", got, want, w.where("p"))
		}
	}, "n1")
}

// Pods that claim at once do not get the same device, although the View lags behind the decisions.
func TestManyAtOnce(t *testing.T) {
	var nodes []string
	for i := range 10 {
		nodes = append(nodes, fmt.Sprintf("n%d", i))
	}
	withDevices(t, func(t *testing.T, w *world) {
		var objs []object.Object
		for i := range 25 {
			name := fmt.Sprintf("c%d", i)
			objs = append(objs, mkClaim(name, oneOf("gpu", "")), mkPod("p"+name, claiming(name)))
		}
		w.Put(objs...)
		synctest.Wait()
		seen, bound := map[string]string{}, 0
		for _, c := range client.ListOf[res.ResourceClaim](w.View(), client.Select{}) {
			if c.Status.Allocation == nil {
				continue
			}
			for _, r := range c.Status.Allocation.Devices.Results {
				if by := seen[r.Pool+"/"+r.Device]; by != "" {
					t.Errorf("%s/%s is both %s's and %s's", r.Pool, r.Device, by, c.Name)
				}
				seen[r.Pool+"/"+r.Device] = c.Name
			}
			if w.where("p"+c.Name) != "" {
				bound++
			}
		}
		if bound != 20 {
			t.Errorf("%d pods are bound, want 20", bound)
		}
	}, nodes...)
}

// Of very many nodes that have a device, as many are looked at as it takes to choose well.
func TestClaimsOnManyNodes(t *testing.T) {
	var nodes []string
	for i := range 300 {
		nodes = append(nodes, fmt.Sprintf("n%d", i))
	}
	withDevices(t, func(t *testing.T, w *world) {
		w.Put(mkClaim("c", oneOf("gpu", "y")), mkPod("p", claiming("c")))
		at := w.where("p")
		if got := w.got("c"); at == "" || got != "r="+at+"/b for p" {
			t.Errorf("on %q with %s", at, got)
		}
	}, nodes...)
}
