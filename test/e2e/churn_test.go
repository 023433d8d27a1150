package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// full makes the tests below as long as they are worth on a quiet machine: PROA_TEST_FULL=1.
func full(short, long int) int {
	if os.Getenv("PROA_TEST_FULL") != "" {
		return long
	}
	return short
}

// webs is a Deployment of so many small pods; another mark replaces them all.
func webs(n int, mark string) string {
	return fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: webs}, spec: {replicas: %d, selector: {matchLabels: {app: webs}},
		strategy: {rollingUpdate: {maxSurge: 100%%, maxUnavailable: 50%%}},
		template: {metadata: {labels: {app: webs}, annotations: {mark: "%s"}}, spec: {terminationGracePeriodSeconds: 1, containers: [
			{name: web, image: docker.io/proa/shop-web:v1, env: [{name: STORE_PASSWORD, value: x}]}]}}}}`, n, mark)
}

// TestKilledAmidChurn kills the daemon at random moments while pods come and go. Afterwards the machine holds exactly what the API says.
func TestKilledAmidChurn(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	before := c.inventory()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const pods = 8
	for round := range full(6, 100) {
		c.apply(webs(pods, fmt.Sprint(round)))
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond) // the moment of the kill
		c.killDaemon()
		c.proa("up")
	}
	c.kubectl("rollout", "status", "deployment/webs", "--timeout=60s")
	c.eventually(60*time.Second, "only the newest pods are left", func() bool { return len(c.uids()) == pods })
	c.holdsOnly(c.uids())
	c.kubectl("delete", "deployment", "webs")
	c.inventoryIs(before)
}

// uids are those of all pods in the API.
func (c *cluster) uids() []string {
	c.t.Helper()
	list := strings.Fields(c.kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}"))
	slices.Sort(list)
	return list
}

// holdsOnly compares, kind by kind, what the machine has of pods with these.
func (c *cluster) holdsOnly(uids []string) {
	c.t.Helper()
	var diff string
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		diff = cmp.Diff(c.expected(uids), c.held())
		if diff == "" {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("the machine does not hold what the API says (-API +machine):\n%s", diff)
		}
	}
}

// expected is what there is of pods that each have one container and an address of their own.
func (c *cluster) expected(uids []string) map[string]any {
	return map[string]any{
		"directories": uids, "cgroups": uids, "containers": len(uids), "links": len(uids), "network namespaces": len(uids),
		"sandboxes": len(uids), "keepers": len(uids), "shared memories": len(uids),
	}
}

// held is what the machine has.
func (c *cluster) held() map[string]any {
	c.t.Helper()
	groups := map[string]bool{}
	for _, path := range c.cgroups() {
		if uid, ok := strings.CutPrefix(filepath.Base(path), "pod"); ok {
			groups[uid] = true
		}
	}
	links := 0
	err := c.Within(func() error {
		list, err := netlink.LinkList()
		for _, l := range list {
			if l.Type() == "veth" {
				links++
			}
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	containers := 0
	for _, p := range processes(c.t) {
		if strings.Contains(p.Cgroup, filepath.Base(c.Run)) && strings.Contains(p.Cgroup, "/pod") && filepath.Base(p.Program) == "web" {
			containers++
		}
	}
	count := func(dir string) int { return len(namesIn(c.t, dir)) }
	held := map[string]any{
		"directories": namesIn(c.t, c.Dir+"/kubelet/pods"), "cgroups": slices.Sorted(maps.Keys(groups)), "containers": containers, "links": links,
		"network namespaces": count(c.Run + "/netns"), "sandboxes": count(c.Dir + "/data/runtime/sandboxes"),
		"keepers": count(c.Run + "/keepers"), "shared memories": count(c.Run + "/shm"),
	}
	if c.other != nil {
		memories, boxes, nets := c.other.places()[0], c.other.places()[1], c.other.places()[2]
		held["network namespaces"], held["sandboxes"], held["shared memories"] = count(nets), count(boxes), count(memories)
		held["keepers"] = c.other.shims()
	}
	return held
}

// TestRestartAmongMany restarts the daemon of a node with many pods: no container is restarted, nothing leaks.
func TestRestartAmongMany(t *testing.T) {
	pods := full(30, 200)
	c := newCluster(t, fmt.Sprintf("  maxPods: %d\n", pods+10))
	c.up()
	c.apply(webs(pods, "many"))
	c.kubectl("rollout", "status", "deployment/webs", "--timeout=240s")
	before := c.containers()
	if len(before) != pods {
		t.Fatalf("%d pods, want %d", len(before), pods)
	}
	c.killDaemon()
	began := time.Now()
	c.proa("up")
	up := time.Since(began)
	c.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=30s")
	c.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
	t.Logf("%d pods: up after %v, all asked and ready after %v", pods, up, time.Since(began))
	if now := c.containers(); !maps.Equal(now, before) {
		t.Errorf("containers changed: %s", cmp.Diff(before, now))
	}
	c.holdsOnly(c.uids())
}
