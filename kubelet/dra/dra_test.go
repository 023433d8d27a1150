package dra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	health1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	dra "k8s.io/kubelet/pkg/apis/dra/v1"
	beta "k8s.io/kubelet/pkg/apis/dra/v1beta1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/kit/prom"
	"proa.dev/kit/run"
	"proa.dev/kubelet/dra/dratest"
	"proa.dev/kubelet/plugin"
	"proa.dev/object"
)

const gpu = "gpu.example.com"

// node is a manager whose drivers are found by a watcher, until the test ends or stop is called.
type node struct {
	*Manager
	root string
	stop func()
}

func start(t *testing.T, a *controltest.API, root string) *node {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	m, err := New(Config{Client: a.Client(), Node: "n", Root: root, Renew: func(types.UID) {}, Log: log, Away: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w := plugin.New(filepath.Join(root, "plugins_registry"), log)
	w.Handle(plugin.DRA, m)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run.All(ctx, run.Component{Name: "dra", Run: m.Run}, run.Component{Name: "plugins", Run: w.Run})
	}()
	n := &node{Manager: m, root: root}
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error("run:", err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no", what)
		}
	}
}

func (n *node) serve(t *testing.T, service string, devices func(*dra.Claim) ([]*dra.Device, error)) *dratest.Driver {
	t.Helper()
	d := &dratest.Driver{Name: gpu, Service: service, Devices: devices}
	if err := d.Serve(filepath.Join(n.root, "plugins"), filepath.Join(n.root, "plugins_registry")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	await(t, "driver", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return slices.ContainsFunc(n.drivers[gpu], func(d *driver) bool { return d.connected })
	})
	return d
}

// byRequest gives each request a device and a CDI name of its own.
func byRequest(c *dra.Claim) (out []*dra.Device, err error) {
	for _, r := range []string{"one", "two"} {
		out = append(out, &dra.Device{RequestNames: []string{r}, PoolName: "n", DeviceName: r, CdiDeviceIds: []string{"example.com/gpu=" + c.GetName() + "-" + r}})
	}
	return out, nil
}

func podWith(name, claim string, requests ...string) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	p.Spec.ResourceClaims = []core.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claim}}
	c := core.Container{Name: "c"}
	for _, r := range requests {
		c.Resources.Claims = append(c.Resources.Claims, core.ResourceClaim{Name: "gpu", Request: r})
	}
	p.Spec.Containers = []core.Container{c}
	return p
}

func claimFor(name string, pods ...*core.Pod) *resource.ResourceClaim {
	c := &resource.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}}
	c.Status.Allocation = &resource.AllocationResult{Devices: resource.DeviceAllocationResult{Results: []resource.DeviceRequestAllocationResult{
		{Request: "one", Driver: gpu, Pool: "n", Device: "one"}, {Request: "two", Driver: gpu, Pool: "n", Device: "two"},
	}}}
	for _, p := range pods {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resource.ResourceClaimConsumerReference{Resource: "pods", Name: p.Name, UID: p.UID})
	}
	return c
}

// gets is the CDI names that a pod's container gets.
func (n *node) gets(t *testing.T, p *core.Pod) string {
	t.Helper()
	config := &runtimeapi.ContainerConfig{}
	if err := n.Add(p, &p.Spec.Containers[0], config); err != nil {
		return err.Error()
	}
	var out []string
	for _, d := range config.CDIDevices {
		out = append(out, strings.TrimPrefix(d.GetName(), "example.com/gpu="))
	}
	return strings.Join(out, " ")
}

func TestClaimsArePreparedOnce(t *testing.T) {
	for _, service := range []string{dra.DRAPluginService, beta.DRAPluginService} {
		t.Run(service, func(t *testing.T) {
			a := controltest.New(t)
			n := start(t, a, t.TempDir())
			d := n.serve(t, service, byRequest)
			p, q := podWith("p", "c", "one"), podWith("q", "c", "")
			a.Put(claimFor("c", p, q))
			for _, pod := range []*core.Pod{p, q, p} {
				if err := n.Prepare(t.Context(), pod); err != nil {
					t.Fatal(err)
				}
			}
			if got := n.gets(t, p) + ", " + n.gets(t, q); got != "c-one, c-one c-two" {
				t.Errorf("got %s", got)
			}
			shows := func(lines ...string) {
				t.Helper()
				var page prom.Page
				n.Page(&page)
				for _, line := range lines {
					if !strings.Contains(page.String(), "\n"+line+"\n") {
						t.Errorf("there is no %s in\n%s", line, &page)
					}
				}
			}
			shows(`dra_resource_claims_in_use{driver_name="<any>"} 1`, `dra_resource_claims_in_use{driver_name="`+gpu+`"} 1`,
				`dra_operations_duration_seconds_count{operation_name="PrepareResources",is_error="false"} 3`)
			if err := n.Release(t.Context(), "p"); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(d.Calls()); got != "[prepare default/c]" {
				t.Errorf("after the first pod: %s", got)
			}
			for range 2 {
				if err := n.Release(t.Context(), "q"); err != nil {
					t.Fatal(err)
				}
			}
			if got := fmt.Sprint(d.Calls(), n.Uses("q")); got != "[prepare default/c unprepare default/c] false" {
				t.Errorf("after the last pod: %s", got)
			}
			shows(`dra_resource_claims_in_use{driver_name="<any>"} 0`, `dra_operations_duration_seconds_count{operation_name="UnprepareResources",is_error="false"} 2`,
				`dra_grpc_operations_duration_seconds_count{driver_name="`+gpu+`",method_name="/k8s.io.kubelet.pkg.apis.dra.`+service+`/NodePrepareResources",grpc_status_code="OK"} 1`)
		})
	}
}

func TestAnotherProcessTakesOver(t *testing.T) {
	a, root := controltest.New(t), t.TempDir()
	n := start(t, a, root)
	d := n.serve(t, dra.DRAPluginService, byRequest)
	p := podWith("p", "c", "two")
	a.Put(claimFor("c", p))
	if err := n.Prepare(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n = start(t, a, root)
	if got := n.gets(t, p); got != "c-two" {
		t.Errorf("got %s", got)
	}
	if got := n.Stale(func(types.UID) bool { return false }); !slices.Equal(got, []types.UID{"p"}) {
		t.Errorf("stale: %v", got)
	}
	await(t, "driver found again", func() bool { return n.Release(t.Context(), "p") == nil })
	if got := fmt.Sprint(d.Calls()); got != "[prepare default/c unprepare default/c]" {
		t.Errorf("got %s", got)
	}
}

func TestWhatCannotBePrepared(t *testing.T) {
	a := controltest.New(t)
	n := start(t, a, t.TempDir())
	p := podWith("p", "c", "")
	check := func(want string) {
		t.Helper()
		if err := n.Prepare(t.Context(), p); err == nil || err.Error() != "prepare dynamic resources: "+want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	check(`fetch ResourceClaim c: resourceclaims.resource.k8s.io "c" not found`)
	a.Put(claimFor("c"))
	check("pod p (p) is not allowed to use ResourceClaim c (uid-c)")
	a.Put(claimFor("c", p))
	check("DRA driver gpu.example.com is not registered")
	if n.Uses("p") {
		t.Error("a pod whose driver is not there holds something")
	}
	d := n.serve(t, dra.DRAPluginService, func(*dra.Claim) ([]*dra.Device, error) { return nil, errors.New("broken") })
	check("NodePrepareResources failed for ResourceClaim c: broken")
	d.Devices = byRequest
	if err := n.Prepare(t.Context(), p); err != nil {
		t.Error(err)
	}
	p = podWith("later", "c", "")
	other := claimFor("c", p)
	a.Remove(other)
	other.UID = "new"
	a.Put(other)
	check("old ResourceClaim with same name c and different UID uid-c still exists (previous pod force-deleted?!)")
}

func TestSlicesOfDriversThatAreGone(t *testing.T) {
	a := controltest.New(t)
	slice := func(name, node string) *resource.ResourceSlice {
		return &resource.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resource.ResourceSliceSpec{Driver: gpu, NodeName: &node}}
	}
	left := func() (out []string) {
		for _, s := range client.ListOf[resource.ResourceSlice](a.View(), client.Select{}) {
			out = append(out, s.Name)
		}
		return out
	}
	a.Put(slice("old", "n"), slice("elsewhere", "m"))
	n := start(t, a, t.TempDir())
	await(t, "removal of what an earlier life left", func() bool { return slices.Equal(left(), []string{"elsewhere"}) })
	d := n.serve(t, dra.DRAPluginService, byRequest)
	a.Put(slice("new", "n"))
	time.Sleep(300 * time.Millisecond) // three times as long as a driver may be away
	if got := left(); !slices.Equal(got, []string{"elsewhere", "new"}) {
		t.Errorf("while the driver is there: %v", got)
	}
	d.Stop()
	await(t, "removal after the driver went", func() bool { return slices.Equal(left(), []string{"elsewhere"}) })
}

func TestHealth(t *testing.T) {
	a := controltest.New(t)
	var told []types.UID
	m, err := New(Config{Client: a.Client(), Node: "n", Root: t.TempDir(), Renew: func(uid types.UID) { told = append(told, uid) }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p := podWith("p", "c", "one")
	m.claims[keyOf("c")] = &prepared{Namespace: "default", Name: "c", Pods: []types.UID{"p"}, Drivers: map[string][]Device{gpu: {
		{Requests: []string{"one"}, Pool: "n", Name: "one", CDI: []string{"cdi"}}, {Requests: []string{"two"}, Pool: "n", Name: "two"},
	}}}
	say := func(h health1.HealthStatus, at time.Time) {
		m.learn(gpu, []*health1.DeviceHealth{{Device: &health1.DeviceIdentifier{PoolName: "n", DeviceName: "one"}, Health: h, Message: "hot"}}, at)
	}
	got := func() string {
		s := m.Statuses(p, &p.Spec.Containers[0])
		if len(s) != 1 || len(s[0].Resources) != 1 {
			return fmt.Sprint(s)
		}
		r := s[0].Resources[0]
		out := fmt.Sprint(s[0].Name, " ", r.ResourceID, " ", r.Health)
		if r.Message != nil {
			out += " " + *r.Message
		}
		return out
	}
	if want := "claim:gpu/one cdi Unknown"; got() != want {
		t.Errorf("got %s, want %s", got(), want)
	}
	say(health1.HealthStatus_UNHEALTHY, time.Now())
	if want := "claim:gpu/one cdi Unhealthy hot"; got() != want {
		t.Errorf("got %s, want %s", got(), want)
	}
	say(health1.HealthStatus_UNHEALTHY, time.Now())
	if len(told) != 1 {
		t.Errorf("told %v: the second time nothing changed", told)
	}
	say(health1.HealthStatus_UNHEALTHY, time.Now().Add(-time.Minute))
	if want := "claim:gpu/one cdi Unknown"; got() != want {
		t.Errorf("of long ago: got %s, want %s", got(), want)
	}
}

func keyOf(claim string) object.Key { return object.Key{Namespace: "default", Name: claim} }
