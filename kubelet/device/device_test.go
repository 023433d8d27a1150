package device

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/device/devicetest"
	"proa.dev/kubelet/topology"
)

const gpu = "example.com/gpu"

// running is a manager that serves, until the test ends or stop is called.
type running struct {
	*Manager
	dir  string
	stop func()

	mu      sync.Mutex // guards renewed
	renewed []types.UID
}

func serve(t *testing.T, root string) *running {
	t.Helper()
	r := &running{dir: filepath.Join(root, "device-plugins")}
	m, err := New(root, []int{0, 1}, func(uid types.UID) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.renewed = append(r.renewed, uid)
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.Manager = m
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("run:", err)
		}
	})
	t.Cleanup(r.stop)
	await(t, "socket", func() bool { _, err := os.Stat(filepath.Join(r.dir, "kubelet.sock")); return err == nil })
	return r
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no", what)
		}
	}
}

// amounts is capacity and allocatable of the gpu, and whether it is gone.
func (r *running) amounts(now time.Time) string {
	c, a, gone := r.Capacity(now)
	x, known := c[gpu]
	y := a[gpu]
	if !known {
		return fmt.Sprint("none ", gone)
	}
	return fmt.Sprintf("%d/%d", y.Value(), x.Value())
}

func gpus(answer func(ids []string) *api.ContainerAllocateResponse) *devicetest.Plugin {
	return &devicetest.Plugin{Resource: gpu, Answer: answer}
}

func echo(ids []string) *api.ContainerAllocateResponse {
	list := strings.Join(slices.Sorted(slices.Values(ids)), ",")
	return &api.ContainerAllocateResponse{
		Envs:        map[string]string{"GPU": list},
		Mounts:      []*api.Mount{{ContainerPath: "/opt/gpu", HostPath: "/srv/gpu", ReadOnly: true}},
		Devices:     []*api.DeviceSpec{{ContainerPath: "/dev/gpu", HostPath: "/dev/null", Permissions: "rw"}},
		Annotations: map[string]string{"gpu": list}, CdiDevices: []*api.CDIDevice{{Name: "example.com/gpu=" + list}},
	}
}

func container(name string, n int64) core.Container {
	return core.Container{Name: name, Resources: core.ResourceRequirements{Limits: core.ResourceList{gpu: *resource.NewQuantity(n, resource.DecimalSI)}}}
}

func podOf(uid types.UID, containers ...core.Container) *core.Pod {
	p := &core.Pod{Spec: core.PodSpec{Containers: containers}}
	p.UID = uid
	return p
}

var anywhere = topology.Hint{Any: true}

func (r *running) allocate(t *testing.T, p *core.Pod) error {
	t.Helper()
	for i := range p.Spec.InitContainers {
		if err := r.Allocate(t.Context(), p, &p.Spec.InitContainers[i], anywhere); err != nil {
			return err
		}
	}
	for i := range p.Spec.Containers {
		if err := r.Allocate(t.Context(), p, &p.Spec.Containers[i], anywhere); err != nil {
			return err
		}
	}
	return nil
}

func (r *running) has(uid types.UID, container string) string {
	var out []string
	for _, g := range r.Of(uid, container) {
		out = append(out, g.IDs...)
	}
	return strings.Join(out, ",")
}

func TestDevicesComeAndGo(t *testing.T) {
	r := serve(t, t.TempDir())
	p := gpus(echo)
	if err := p.Serve(r.dir, "gpu.sock", devicetest.Healthy("a", "b", "c")...); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	await(t, "3/3", func() bool { return r.amounts(now) == "3/3" })
	pod := podOf("p", container("c", 2))
	if err := r.allocate(t, pod); err != nil {
		t.Fatal(err)
	}
	if got := r.has("p", "c"); got != "a,b" {
		t.Errorf("got %s, want a,b", got)
	}
	if err := r.allocate(t, pod); err != nil || len(p.Calls()) != 1 {
		t.Errorf("again: %v after %v", err, p.Calls())
	}
	err := r.allocate(t, podOf("q", container("c", 2)))
	if want := "requested number of devices unavailable for example.com/gpu. Requested: 2, Available: 1"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	ill := devicetest.Healthy("a", "b", "c")
	ill[0].Health = api.Unhealthy
	p.Set(ill...)
	await(t, "2/3", func() bool { return r.amounts(now) == "2/3" })
	want := []core.ResourceStatus{{Name: gpu, Resources: []core.ResourceHealth{
		{ResourceID: "a", Health: core.ResourceHealthStatusUnhealthy}, {ResourceID: "b", Health: core.ResourceHealthStatusHealthy},
	}}}
	if diff := cmp.Diff(want, r.Statuses("p", "c")); diff != "" {
		t.Error(diff)
	}
	r.mu.Lock()
	if !slices.Contains(r.renewed, "p") {
		t.Error("the pod was not told")
	}
	r.mu.Unlock()
	err = r.allocate(t, pod)
	if want := "previously allocated devices are no longer healthy; cannot allocate unhealthy devices example.com/gpu"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	p.Stop()
	await(t, "0/3", func() bool { return r.amounts(time.Now()) == "0/3" })
	err = r.allocate(t, podOf("q", container("c", 1)))
	if want := "no healthy devices present; cannot allocate unhealthy devices example.com/gpu"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := r.amounts(time.Now().Add(grace - time.Minute)); got != "0/3" {
		t.Error("within the grace period:", got)
	}
	if got := r.amounts(time.Now().Add(grace + time.Minute)); got != "none [example.com/gpu]" {
		t.Error("after the grace period:", got)
	}
	if !r.Handles(gpu) {
		t.Error("a pod has some of it, so it is still handled")
	}
	r.Release("p")
	if r.Handles(gpu) {
		t.Error("handled although nobody has or gives it")
	}
}

func TestConfigurationOfContainers(t *testing.T) {
	r := serve(t, t.TempDir())
	p := gpus(echo)
	p.Options = &api.DevicePluginOptions{PreStartRequired: true}
	if err := p.Serve(r.dir, "gpu.sock", devicetest.Healthy("a")...); err != nil {
		t.Fatal(err)
	}
	await(t, "1/1", func() bool { return r.amounts(time.Now()) == "1/1" })
	pod := podOf("p", container("c", 1))
	if err := r.allocate(t, pod); err != nil {
		t.Fatal(err)
	}
	config := &runtimeapi.ContainerConfig{Envs: []*runtimeapi.KeyValue{{Key: "A", Value: []byte("b")}}}
	if err := r.Add(t.Context(), pod, &pod.Spec.Containers[0], config); err != nil {
		t.Fatal(err)
	}
	var envs []string
	for _, e := range config.Envs {
		envs = append(envs, e.GetKey()+"="+string(e.GetValue()))
	}
	got := fmt.Sprint(envs, config.Devices[0].HostPath, config.Mounts[0].Readonly, config.Annotations, config.CDIDevices[0].Name, p.Calls())
	want := "[A=b GPU=a]/dev/nulltruemap[gpu:a]example.com/gpu=a[Allocate a PreStartContainer a]"
	if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	other := podOf("q", core.Container{Name: "c"})
	plain := &runtimeapi.ContainerConfig{}
	if err := r.Add(t.Context(), other, &other.Spec.Containers[0], plain); err != nil || len(plain.Envs)+len(plain.Devices) > 0 {
		t.Errorf("a container that asks for nothing got %v, %v", plain, err)
	}
	var page prom.Page
	r.Page(&page)
	for _, want := range []string{
		`kubelet_device_plugin_registration_total{resource_name="example.com/gpu"} 1`, `kubelet_device_plugin_alloc_duration_seconds_count{resource_name="example.com/gpu"} 1`,
	} {
		if !strings.Contains(page.String(), want+"\n") {
			t.Errorf("there is no %s in\n%s", want, &page)
		}
	}
}

func TestInitContainersPassTheirDevicesOn(t *testing.T) {
	always := core.ContainerRestartPolicyAlways
	r := serve(t, t.TempDir())
	p := gpus(echo)
	if err := p.Serve(r.dir, "gpu.sock", devicetest.Healthy("a", "b", "c", "d")...); err != nil {
		t.Fatal(err)
	}
	await(t, "4/4", func() bool { return r.amounts(time.Now()) == "4/4" })
	pod := podOf("p", container("one", 1), container("two", 2))
	side := container("side", 1)
	side.RestartPolicy = &always
	pod.Spec.InitContainers = []core.Container{container("first", 2), side, container("second", 2)}
	if err := r.allocate(t, pod); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(r.has("p", "first"), " ", r.has("p", "side"), " ", r.has("p", "second"), " ", r.has("p", "one"), " ", r.has("p", "two"))
	if want := "a,b a b,c b c,d"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnotherProcessTakesOver(t *testing.T) {
	root := t.TempDir()
	r := serve(t, root)
	p := gpus(echo)
	if err := p.Serve(r.dir, "gpu.sock", devicetest.Healthy("a", "b")...); err != nil {
		t.Fatal(err)
	}
	await(t, "2/2", func() bool { return r.amounts(time.Now()) == "2/2" })
	pod := podOf("p", container("c", 1))
	if err := r.allocate(t, pod); err != nil {
		t.Fatal(err)
	}
	r.stop()
	p.Stop()

	r = serve(t, root)
	if got := r.amounts(time.Now()); got != "0/0" {
		t.Errorf("before the plugin is back: %s", got)
	}
	config := &runtimeapi.ContainerConfig{}
	if err := r.Add(t.Context(), pod, &pod.Spec.Containers[0], config); err != nil || len(config.Envs) != 1 || string(config.Envs[0].Value) != "a" {
		t.Errorf("got %v, %v", config.Envs, err)
	}
	again := gpus(echo)
	if err := again.Serve(r.dir, "gpu.sock", devicetest.Healthy("a", "b")...); err != nil {
		t.Fatal(err)
	}
	defer again.Stop()
	await(t, "2/2", func() bool { return r.amounts(time.Now()) == "2/2" })
	if err := r.allocate(t, podOf("q", container("c", 1))); err != nil || r.has("q", "c") != "b" {
		t.Errorf("got %s, %v; want b", r.has("q", "c"), err)
	}
	r.Keep(func(uid types.UID) bool { return uid == "q" })
	if got := r.has("p", "c"); got != "" {
		t.Errorf("a pod that is no more has %s", got)
	}
}

func TestPluginsMayChoose(t *testing.T) {
	r := serve(t, t.TempDir())
	p := gpus(echo)
	p.Options = &api.DevicePluginOptions{GetPreferredAllocationAvailable: true}
	p.Prefer = func(from, _ []string, n int) []string {
		from = slices.Sorted(slices.Values(from))
		return from[len(from)-n:]
	}
	if err := p.Serve(r.dir, "gpu.sock", devicetest.On("a", 0), devicetest.On("b", 0), devicetest.On("c", 1), devicetest.On("d", 1)); err != nil {
		t.Fatal(err)
	}
	await(t, "4/4", func() bool { return r.amounts(time.Now()) == "4/4" })
	pod := podOf("p", container("c", 1))
	if err := r.Allocate(t.Context(), pod, &pod.Spec.Containers[0], topology.Hint{Nodes: topology.MaskOf(0)}); err != nil || r.has("p", "c") != "b" {
		t.Errorf("on node 0: got %s, %v; want b", r.has("p", "c"), err)
	}
	q := podOf("q", container("c", 3))
	if err := r.Allocate(t.Context(), q, &q.Spec.Containers[0], topology.Hint{Nodes: topology.MaskOf(1)}); err != nil || r.has("q", "c") != "a,c,d" {
		t.Errorf("across nodes: got %s, %v", r.has("q", "c"), err)
	}
}

func TestHints(t *testing.T) {
	m := &Manager{nodes: []int{0, 1}, resources: map[string]*advertised{}, given: map[types.UID]map[string]map[string]*grant{}}
	list := []*api.Device{devicetest.On("a", 0), devicetest.On("b", 0), devicetest.On("c", 1)}
	a := &advertised{devices: map[string]*api.Device{}, plugins: []*conn{{}}}
	for _, d := range list {
		a.devices[d.ID] = d
	}
	m.resources[gpu] = a
	for n, want := range map[int64]string{
		1: "[{0 false true} {1 false true} {0,1 false false}]", 2: "[{0 false true} {0,1 false false}]",
		3: "[{0,1 false true}]", 4: "[]",
	} {
		pod := podOf("p", container("c", n))
		if got := fmt.Sprint(m.Hints(pod, &pod.Spec.Containers[0])[gpu]); got != want {
			t.Errorf("for %d: got %s, want %s", n, got, want)
		}
	}
}

func TestRegistrationIsChecked(t *testing.T) {
	r := serve(t, t.TempDir())
	for name, want := range map[string]string{
		"gpu": `the ResourceName "gpu" is invalid`, "kubernetes.io/gpu": `the ResourceName "kubernetes.io/gpu" is invalid`,
		"requests.example.com/gpu": `is invalid`, "example.com/g p u": `is invalid`,
	} {
		err := (&devicetest.Plugin{Resource: name}).Register(r.dir, "none.sock")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}
