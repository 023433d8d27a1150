package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestContainerd is the main job with Debian's containerd and runc in place of proa's own runtime.
func TestContainerd(t *testing.T) {
	other := newContainerd(t) // before the cluster, so that it stops after the cluster is gone
	c := newClusterOn(t, other, "")

	out, err := c.Command("proa", "up").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no such socket") || !strings.Contains(string(out), "runtime.endpoint") {
		t.Fatalf("proa up without containerd: %v\n%s", err, out)
	}
	other.start(c)
	c.up()
	if out, err := c.Command("proa", "image", "ls").CombinedOutput(); err == nil || !strings.Contains(string(out), other.socket()) {
		t.Errorf("proa image ls: %v\n%s", err, out)
	}
	before := c.inventory()
	c.deployShop()
	body, err := c.page()
	if err != nil {
		t.Fatalf("fetch the page: %v", err)
	}
	for _, want := range []string{"store by name: store:6379", "store by environment: 10.43."} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q:\n%s", want, body)
		}
	}
	c.killedContainerComesBack()
	c.serviceSpreadsOver(5)
	c.updateWithoutAFailedRequest()
	c.deletedPodIsReplaced()
	if log := c.kubectl("-n", "shop", "logs", "deployment/web"); !strings.Contains(log, "8080") {
		t.Errorf("log of the web: %q", log)
	}
	c.says(t, []string{"-n", "shop", "exec", "deployment/web", "--", "/web", "-version"}, "web v2")
	c.hearsWhatContainerdLacks()
	other.keepsForeignPods(c)
	c.proa("up")
	c.kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	c.eventually(30*time.Second, "the page is served again", func() bool { _, err := c.page(); return err == nil })

	c.kubectl("delete", "namespace", "shop", "--timeout=60s")
	c.inventoryIs(before)
}

// hearsWhatContainerdLacks has pods ask for what containerd 1.6 can not do: each hears why it does not run. A newer one may do it.
func (c *cluster) hearsWhatContainerdLacks() {
	c.t.Helper()
	version := c.kubectl("get", "node", "box", "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}")
	if !strings.HasPrefix(version, "containerd://1.6.") {
		c.t.Logf("what %s lacks is not known", version)
		return
	}
	waits := "{.status.containerStatuses[0].state.waiting.reason}"
	for _, lack := range []struct{ name, spec, mount, says, at, reason string }{
		{"users", "hostUsers: false", "", "can't set `spec.hostUsers: false`, runtime does not support user namespaces", waits, "ContainerCreating"},
		{"image", "volumes: [{name: v, image: {reference: docker.io/proa/shop-store:v1}}]", "{name: v, mountPath: /v}",
			"does not support image volumes: they need containerd 2.1 or newer", waits, "CreateContainerError"},
		{"below", "volumes: [{name: v, emptyDir: {}}]", "{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: Enabled}",
			"recursive read-only mode, but it is not supported by the runtime", waits, "CreateContainerConfigError"},
		{"groups", "securityContext: {supplementalGroupsPolicy: Strict}", "",
			"SupplementalGroupsPolicy=Strict is not supported in this node", "{.status.reason}", "SupplementalGroupsPolicyNotSupported"},
	} {
		c.apply(fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {%s, containers: [
			{name: web, image: docker.io/proa/shop-web:v1, volumeMounts: [%s]}]}}`, lack.name, lack.spec, lack.mount))
		c.eventually(30*time.Second, "events of pod "+lack.name+" say "+lack.says, func() bool {
			return strings.Contains(c.kubectl("get", "events", "--field-selector", "involvedObject.name="+lack.name, "-o", "jsonpath={.items[*].message}"), lack.says)
		})
		c.eventually(10*time.Second, "the status of pod "+lack.name+" says "+lack.reason, func() bool {
			return c.kubectl("get", "pod", lack.name, "-o", "jsonpath="+lack.at) == lack.reason
		})
		c.kubectl("delete", "pod", lack.name, "--timeout=30s")
	}
}

// keepsForeignPods stops the node while a container of somebody else runs in containerd, which must be left alone.
func (d *containerd) keepsForeignPods(c *cluster) {
	d.t.Helper()
	if err := d.ctr("run", "--detach", "registry.k8s.io/pause:3.6", "somebody"); err != nil {
		d.t.Fatal(err)
	}
	d.t.Log(c.proa("down"))
	out, err := exec.Command("ctr", "--address", d.socket(), "--namespace", "k8s.io", "tasks", "ls").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "somebody") || strings.Count(string(out), "RUNNING") != 1 {
		d.t.Errorf("after proa down containerd runs: %v\n%s", err, out)
	}
	if err := d.ctr("tasks", "kill", "--signal", "KILL", "somebody"); err != nil {
		d.t.Error(err)
	}
	c.eventually(10*time.Second, "the other container is removed", func() bool { return d.ctr("tasks", "rm", "somebody") == nil })
	if err := d.ctr("containers", "rm", "somebody"); err != nil {
		d.t.Error(err)
	}
}
