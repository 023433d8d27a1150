package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	deviceplugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	draplugin "k8s.io/kubelet/pkg/apis/dra/v1"

	"proa.dev/kubelet/device/devicetest"
	"proa.dev/kubelet/dra/dratest"
)

// TestDevicePlugins has a plugin's devices in containers, over restarts of the container and of the daemon.
func TestDevicePlugins(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	dir := filepath.Join(c.Dir, "kubelet", "device-plugins")
	if err := os.WriteFile(filepath.Join(c.Dir, "driver"), []byte("v1"), 0o644); err != nil {
		t.Fatal(err)
	}
	serve := func() *devicetest.Plugin {
		p := &devicetest.Plugin{Resource: "example.com/gpu", Options: &deviceplugin.DevicePluginOptions{PreStartRequired: true}}
		p.Answer = func(ids []string) *deviceplugin.ContainerAllocateResponse {
			return &deviceplugin.ContainerAllocateResponse{
				Envs:    map[string]string{"GPU": strings.Join(ids, ",")},
				Devices: []*deviceplugin.DeviceSpec{{ContainerPath: "/dev/gpu", HostPath: "/dev/zero", Permissions: "rw"}},
				Mounts:  []*deviceplugin.Mount{{ContainerPath: "/driver", HostPath: filepath.Join(c.Dir, "driver"), ReadOnly: true}},
			}
		}
		if err := p.Serve(dir, "gpu.sock", devicetest.Healthy("one", "two")...); err != nil {
			t.Fatal(err)
		}
		return p
	}
	amounts := func() string {
		return c.kubectl("get", "node", "box", "-o", `jsonpath={.status.capacity.example\.com/gpu}/{.status.allocatable.example\.com/gpu}`)
	}
	p := serve()
	c.eventually(10*time.Second, "the node has two devices", func() bool { return amounts() == "2/2" })

	c.apply(gpuPod("a", 1))
	c.kubectl("wait", "pod/a", "--for=condition=Ready", "--timeout=30s")
	gpu := c.gpuOf("a")
	if gpu != "one" && gpu != "two" {
		t.Errorf("the container has the device %q", gpu)
	}
	pid := c.containerProcess(c.kubectl("get", "pod", "a", "-o", "jsonpath={.metadata.uid}"))
	root := fmt.Sprintf("/proc/%d/root", pid)
	if b, err := os.ReadFile(root + "/driver"); err != nil || string(b) != "v1" {
		t.Errorf("the plugin's mount: %q, %v", b, err)
	}
	var here, there syscall.Stat_t
	if err := syscall.Stat(root+"/dev/gpu", &here); err != nil {
		t.Error(err)
	} else if err := syscall.Stat("/dev/zero", &there); err != nil || here.Rdev != there.Rdev {
		t.Errorf("/dev/gpu is device %x, not %x", here.Rdev, there.Rdev)
	}
	if got := c.kubectl("get", "pod", "a", "-o", "jsonpath={.status.containerStatuses[0].allocatedResourcesStatus}"); !strings.Contains(got, `"health":"Healthy"`) {
		t.Errorf("allocatedResourcesStatus: %s", got)
	}

	// The container restarts with the same device; the plugin is told each time.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.eventually(60*time.Second, "the container is back", func() bool {
		return c.kubectl("get", "pod", "a", "-o", "jsonpath={.status.containerStatuses[0].restartCount}{.status.containerStatuses[0].ready}") == "1true"
	})
	if got := c.gpuOf("a"); got != gpu {
		t.Errorf("after a restart the container has %s, before %s", got, gpu)
	}
	if got, want := strings.Join(p.Calls(), "; "), fmt.Sprintf("Allocate %s; PreStartContainer %[1]s; PreStartContainer %[1]s", gpu); got != want {
		t.Errorf("the plugin was asked %s, want %s", got, want)
	}

	// So do other pods that have the rest; what is too much waits.
	c.apply(gpuPod("b", 1))
	c.kubectl("wait", "pod/b", "--for=condition=Ready", "--timeout=30s")
	if got := c.gpuOf("b"); got == gpu || got == "" {
		t.Errorf("both pods have %q", got)
	}
	c.apply(gpuPod("c", 1))
	c.eventually(20*time.Second, "the third pod waits", func() bool {
		return strings.Contains(c.kubectl("get", "pod", "c", "-o", "jsonpath={.status.conditions[*].message}"), "Insufficient example.com/gpu")
	})

	// The daemon dies and comes back without its plugin: nothing can be had, and those who have something keep it.
	c.killDaemon()
	p.Stop()
	c.proa("up")
	c.eventually(20*time.Second, "nothing can be had without the plugin", func() bool { return strings.HasSuffix(amounts(), "/0") })
	c.kubectl("delete", "pod", "b", "--timeout=30s")
	p = serve()
	defer p.Stop()
	c.eventually(10*time.Second, "the devices are back", func() bool { return amounts() == "2/2" })
	c.kubectl("wait", "pod/c", "--for=condition=Ready", "--timeout=30s")
	if got := c.gpuOf("a") + " " + c.gpuOf("c"); got != gpu+" "+map[string]string{"one": "two", "two": "one"}[gpu] {
		t.Errorf("a and c have %s, a had %s", got, gpu)
	}
	if got := c.kubectl("get", "pod", "a", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); got != "1" {
		t.Errorf("a was restarted %s times", got)
	}
}

func gpuPod(name string, n int) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {terminationGracePeriodSeconds: 1, containers: [
		{name: web, image: docker.io/proa/shop-web:v1, env: [{name: STORE_PASSWORD, value: x}], resources: {limits: {example.com/gpu: %d}}}]}}`, name, n)
}

// gpuOf is what the environment of a pod's container says.
func (c *cluster) gpuOf(pod string) string {
	c.t.Helper()
	pid := c.containerProcess(c.kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}"))
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		c.t.Fatal(err)
	}
	for v := range strings.SplitSeq(string(b), "\x00") {
		if value, ok := strings.CutPrefix(v, "GPU="); ok {
			return value
		}
	}
	return ""
}

// TestClaims has devices of a DRA driver claimed by template, prepared on the node, and taken back.
func TestClaims(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	kubelet := filepath.Join(c.Dir, "kubelet")
	d := &dratest.Driver{Name: "gpu.example.com", Service: draplugin.DRAPluginService, Devices: func(*draplugin.Claim) ([]*draplugin.Device, error) {
		return []*draplugin.Device{{RequestNames: []string{"gpu"}, PoolName: "box", DeviceName: "one"}}, nil
	}}
	if err := d.Serve(filepath.Join(kubelet, "plugins"), filepath.Join(kubelet, "plugins_registry")); err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	c.apply(`
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu}
spec: {selectors: [{cel: {expression: 'device.driver == "gpu.example.com"'}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: box-gpus}
spec: {driver: gpu.example.com, nodeName: box, pool: {name: box, generation: 1, resourceSliceCount: 1}, devices: [
  {name: one, attributes: {model: {string: new}}}, {name: old, attributes: {model: {string: old}}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: new-gpu}
spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu, selectors: [
  {cel: {expression: 'device.attributes["gpu.example.com"].model == "new"'}}]}}]}}}
`)
	pod := func(name string) string {
		return `{apiVersion: v1, kind: Pod, metadata: {name: ` + name + `}, spec: {terminationGracePeriodSeconds: 1, resourceClaims: [{name: gpu, resourceClaimTemplateName: new-gpu}],
			containers: [{name: web, image: docker.io/proa/shop-web:v1, env: [{name: STORE_PASSWORD, value: x}], resources: {claims: [{name: gpu}]}}]}}`
	}
	c.apply(pod("a"))
	c.kubectl("wait", "pod/a", "--for=condition=Ready", "--timeout=60s")
	claim := c.kubectl("get", "pod", "a", "-o", "jsonpath={.status.resourceClaimStatuses[0].resourceClaimName}")
	if got := c.kubectl("get", "resourceclaim", claim, "-o", "jsonpath={.status.allocation.devices.results[0].device} {.status.reservedFor[0].name}"); got != "one a" {
		t.Errorf("the claim has %s, want one a", got)
	}
	if got := strings.Join(d.Calls(), "; "); got != "prepare default/"+claim {
		t.Errorf("the driver was asked %s", got)
	}
	c.apply(pod("b"))
	c.eventually(20*time.Second, "the second pod waits for the only new device", func() bool {
		return strings.Contains(c.kubectl("get", "pod", "b", "-o", "jsonpath={.status.conditions[*].message}"), "cannot allocate all claims")
	})
	c.killDaemon()
	c.proa("up")
	c.kubectl("delete", "pod", "a", "--timeout=60s")
	c.kubectl("wait", "pod/b", "--for=condition=Ready", "--timeout=60s")
	if got := strings.Join(d.Calls(), "; "); !strings.HasPrefix(got, "prepare default/"+claim+"; unprepare default/"+claim+"; prepare default/b-gpu-") {
		t.Errorf("the driver was asked %s", got)
	}
	c.eventually(20*time.Second, "the first claim is gone", func() bool {
		return !strings.Contains(c.kubectl("get", "resourceclaims", "-o", "name"), claim)
	})
	if got := c.kubectl("get", "resourceslices", "-o", "name"); got == "" {
		t.Error("what the driver offers was withdrawn although it is there")
	}
	d.Stop()
	c.eventually(60*time.Second, "what the driver offered is withdrawn after it has gone", func() bool {
		return c.kubectl("get", "resourceslices", "-o", "name") == ""
	})
}

// TestExclusiveCPUs has a CPU for one container alone, from which the others are moved away, and back.
func TestExclusiveCPUs(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Fatal("one CPU is reserved and one is given away: the machine needs two")
	}
	c := newCluster(t, "  cpuManagerPolicy: static\n  reservedSystemCPUs: \"0\"\n")
	c.up()
	pod := func(name, resources string) string {
		return `{apiVersion: v1, kind: Pod, metadata: {name: ` + name + `}, spec: {terminationGracePeriodSeconds: 1, containers: [
			{name: web, image: docker.io/proa/shop-web:v1, env: [{name: STORE_PASSWORD, value: x}], resources: ` + resources + `}]}}`
	}
	on := func(name string) string {
		pid := c.containerProcess(c.kubectl("get", "pod", name, "-o", "jsonpath={.metadata.uid}"))
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "Cpus_allowed_list:")
		list, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		return list
	}
	all := fmt.Sprintf("0-%d", runtime.NumCPU()-1)
	c.apply(pod("shares", "{}"))
	c.kubectl("wait", "pod/shares", "--for=condition=Ready", "--timeout=60s")
	if got := on("shares"); got != all {
		t.Errorf("at first the pod that shares is on %s, want %s", got, all)
	}
	c.apply(pod("own", "{limits: {cpu: 1, memory: 100Mi}}"))
	c.kubectl("wait", "pod/own", "--for=condition=Ready", "--timeout=60s")
	own := on("own")
	if own == "0" || strings.ContainsAny(own, "-,") {
		t.Errorf("the container that asks for a CPU is on %s", own)
	}
	c.eventually(10*time.Second, "the other is moved away", func() bool { return on("shares") != all })
	if got := on("shares"); strings.Contains(","+got+",", ","+own+",") {
		t.Errorf("it is on %s, the other one on %s", own, got)
	}
	c.killDaemon()
	c.proa("up")
	if got := on("own"); got != own {
		t.Errorf("after a restart of the daemon it is on %s, before on %s", got, own)
	}
	c.kubectl("delete", "pod", "own", "--timeout=60s")
	c.eventually(10*time.Second, "the CPU is shared again", func() bool { return on("shares") == all })
}
