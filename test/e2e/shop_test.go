package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const shopURL = "http://" + nodeIP + ":30080/"

var (
	served = regexp.MustCompile(`served by (\S+) \((\S*)\)`)
	visits = regexp.MustCompile(`visits: (\d+)`)
	heads  = regexp.MustCompile(`<h1>(.*)</h1>`)
)

// TestShop is the main job: deploy, break, scale, change, delete, and nothing is left.
func TestShop(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	before := c.inventory()
	c.deployShop()

	body, err := c.page()
	if err != nil {
		t.Fatalf("fetch the page: %v", err)
	}
	for _, want := range []string{"The outrigger shop", "store by name: store:6379", "store by environment: 10.43."} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q:\n%s", want, body)
		}
	}
	c.killedContainerComesBack()
	c.serviceSpreadsOver(5)
	c.updateWithoutAFailedRequest()
	c.deletedPodIsReplaced()

	c.kubectl("delete", "namespace", "shop", "--timeout=60s")
	c.inventoryIs(before)
}

func (c *cluster) deployShop() {
	c.t.Helper()
	text, err := os.ReadFile("../../examples/shop/shop.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	// The example keeps its data on a path of the machine; each test has its own.
	c.apply(strings.ReplaceAll(string(text), "/var/lib/proa-examples/shop", c.Dir+"/shop"))
	c.kubectl("-n", "shop", "rollout", "status", "deployment/store", "--timeout=60s")
	c.kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
}

// page fetches the shop's page through its node port.
func (c *cluster) page() (string, error) {
	resp, err := c.web().Get(shopURL)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

func (c *cluster) killedContainerComesBack() {
	c.t.Helper()
	pod := c.kubectl("-n", "shop", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
	get := func(path string) string {
		return c.kubectl("-n", "shop", "get", "pod", pod, "-o", "jsonpath={"+path+"}")
	}
	pid := c.containerProcess(get(".metadata.uid"))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		c.t.Fatalf("kill the container's process: %v", err)
	}
	c.eventually(30*time.Second, "the killed container runs again and counts one restart", func() bool {
		return get(".status.containerStatuses[0].restartCount") == "1" && get(".status.containerStatuses[0].ready") == "true"
	})
	if code := get(".status.containerStatuses[0].lastState.terminated.exitCode"); code != "137" {
		c.t.Errorf("the killed container's exit code is %s, want 137", code)
	}
}

// containerProcess is the process of the container of the pod with this uid: one in its cgroup that is not the keeper's own.
func (c *cluster) containerProcess(uid string) int {
	c.t.Helper()
	for _, p := range processes(c.t) {
		if strings.Contains(p.Cgroup, uid) && strings.HasSuffix(p.Program, "web") {
			return p.PID
		}
	}
	c.t.Fatalf("no process in a cgroup of pod %s", uid)
	return 0
}

func (c *cluster) serviceSpreadsOver(n int) {
	c.t.Helper()
	c.kubectl("-n", "shop", "scale", "deployment", "web", "--replicas", strconv.Itoa(n))
	c.kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	seen := map[string]int{}
	for range 100 * n {
		body, err := c.page()
		if err != nil {
			c.t.Fatalf("fetch the page: %v", err)
		}
		seen[served.FindStringSubmatch(body)[1]]++
		if len(seen) == n {
			return
		}
	}
	c.t.Errorf("%d requests reached %v, want %d pods", 100*n, slices.Sorted(maps.Keys(seen)), n)
}

func (c *cluster) updateWithoutAFailedRequest() {
	c.t.Helper()
	var asked, failed atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for range 20000 { // bounded; the update ends it long before
			select {
			case <-stop:
				return
			default:
			}
			asked.Add(1)
			if _, err := c.page(); err != nil {
				failed.Add(1)
				c.t.Logf("a request during the update: %v", err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	c.kubectl("-n", "shop", "patch", "configmap", "web", "--type=merge", "-p", `{"data":{"title":"New paint"}}`)
	c.kubectl("-n", "shop", "set", "image", "deployment/web", "web=docker.io/proa/shop-web:v2")
	c.kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=120s")
	close(stop)
	<-stopped
	if failed.Load() > 0 {
		c.t.Errorf("%d of %d requests failed during the rolling update", failed.Load(), asked.Load())
	}
	if asked.Load() < 20 {
		c.t.Errorf("only %d requests were made during the update", asked.Load())
	}
	body, err := c.page()
	if err != nil {
		c.t.Fatalf("fetch the page: %v", err)
	}
	if m := served.FindStringSubmatch(body); m == nil || m[2] != "v2" {
		c.t.Errorf("the page is not served by v2:\n%s", body)
	}
	if m := heads.FindStringSubmatch(body); m == nil || m[1] != "New paint" {
		c.t.Errorf("the page does not have the new title:\n%s", body)
	}
}

func (c *cluster) deletedPodIsReplaced() {
	c.t.Helper()
	pods := func() []string {
		return strings.Fields(c.kubectl("-n", "shop", "get", "pods", "-l", "app=store", "-o", "jsonpath={.items[*].metadata.name}"))
	}
	was := c.visits()
	old := pods()[0]
	c.kubectl("-n", "shop", "delete", "pod", old)
	c.kubectl("-n", "shop", "rollout", "status", "deployment/store", "--timeout=60s")
	if now := pods(); len(now) != 1 || now[0] == old {
		c.t.Errorf("pods of the store after deleting %s: %v", old, now)
	}
	c.eventually(30*time.Second, "the page is served again", func() bool { _, err := c.page(); return err == nil })
	if now := c.visits(); now <= was {
		c.t.Errorf("the store counts %d visits after its pod died, %d before: its data did not survive", now, was)
	}
}

func (c *cluster) visits() int {
	c.t.Helper()
	body, err := c.page()
	if err != nil {
		c.t.Fatalf("fetch the page: %v", err)
	}
	n, err := strconv.Atoi(visits.FindStringSubmatch(body)[1])
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}
