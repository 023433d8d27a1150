package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilledDaemon kills the daemon again and again, at different moments, while the shop serves.
func TestKilledDaemon(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	c.deployShop()
	before := c.containers()
	if len(before) != 3 {
		t.Fatalf("containers before: %v, want 3", before)
	}
	for round := range 3 {
		c.killDaemon()
		if _, err := c.page(); err != nil {
			t.Fatalf("round %d: the shop does not serve while the daemon is dead: %v", round, err)
		}
		c.proa("up")
		c.eventually(30*time.Second, "every container is adopted: same ids, no restart", func() bool {
			return maps.Equal(c.containers(), before)
		})
		if _, err := c.page(); err != nil {
			t.Fatalf("round %d: the shop does not serve after the restart: %v", round, err)
		}
	}
	c.kubectl("-n", "shop", "wait", "pod", "--all", "--for=condition=Ready", "--timeout=30s")
	if log := c.kubectl("-n", "shop", "logs", "deployment/store"); !strings.Contains(log, "listening on") {
		t.Errorf("the store's log after the restarts: %q", log)
	}
	if out := c.kubectl("-n", "shop", "exec", "deployment/web", "--", "/web", "-version"); out == "" {
		t.Error("exec after the restarts printed nothing")
	}
}

// TestExitCodeWhileDead ends a container while no daemon looks.
func TestExitCodeWhileDead(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	c.apply(`{apiVersion: v1, kind: Pod, metadata: {name: once}, spec: {restartPolicy: Never, containers: [
		{name: web, image: docker.io/proa/shop-web:v1, env: [{name: STORE_PASSWORD, value: x}]}]}}`)
	c.kubectl("wait", "pod/once", "--for=jsonpath={.status.phase}=Running", "--timeout=30s")
	uid := c.kubectl("get", "pod", "once", "-o", "jsonpath={.metadata.uid}")
	pid := c.containerProcess(uid)
	c.killDaemon()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.proa("up")
	c.kubectl("wait", "pod/once", "--for=jsonpath={.status.phase}=Failed", "--timeout=30s")
	if code := c.kubectl("get", "pod", "once", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"); code != "137" {
		t.Errorf("exit code %s, want 137", code)
	}
}

// containers is the container id and restart count of every container, by pod.
func (c *cluster) containers() map[string]string {
	c.t.Helper()
	out := c.kubectl("get", "pods", "-A", "-o", `jsonpath={range .items[*]}{.metadata.name}={.status.containerStatuses[0].containerID},{.status.containerStatuses[0].restartCount}{"\n"}{end}`)
	found := map[string]string{}
	for line := range strings.Lines(out) {
		pod, state, _ := strings.Cut(strings.TrimSpace(line), "=")
		found[pod] = state
	}
	return found
}

func (c *cluster) killDaemon() {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Run, "lock"))
	if err != nil {
		c.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		c.t.Fatalf("kill the daemon: %v", err)
	}
	c.eventually(10*time.Second, "the daemon is dead", func() bool {
		return strings.Contains(c.proa("status"), "not running")
	})
}
