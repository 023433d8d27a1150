package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLifecycle walks through up, up, status, down, up, reset.
func TestLifecycle(t *testing.T) {
	c := newCluster(t, "")
	if out := c.proa("up"); !strings.Contains(out, "ready in") {
		t.Errorf("proa up: %s", out)
	}
	if out := c.proa("up"); !strings.Contains(out, "runs already") {
		t.Errorf("the second proa up: %s", out)
	}
	if out := c.proa("status"); !strings.Contains(out, "running, process") || !strings.Contains(out, "box") {
		t.Errorf("proa status: %s", out)
	}
	if out := c.proa("version"); !strings.HasPrefix(out, "proa ") {
		t.Errorf("proa version: %s", out)
	}
	c.importImages(c.Bin+"/images/shop-web.tar", c.Bin+"/images/shop-store.tar")
	c.deployShop()
	if out := c.proa("down"); !strings.Contains(out, "stopped 3 pods") {
		t.Errorf("proa down: %s", out)
	}
	for _, p := range processes(t) {
		if strings.Contains(p.Cgroup, filepath.Base(c.Run)) {
			t.Errorf("after proa down process %s runs in %s", p.Program, p.Cgroup)
		}
	}
	c.proa("up")
	c.eventually(60*time.Second, "the shop serves again after down and up", func() bool { _, err := c.page(); return err == nil })
	if out := c.proa("reset", "--yes"); !strings.Contains(out, "nothing is left") {
		t.Errorf("proa reset: %s", out)
	}
}

// TestKubeconfig keeps the user's own contexts.
func TestKubeconfig(t *testing.T) {
	c := newCluster(t, "")
	path := filepath.Join(c.Dir, "kubeconfig")
	own := "apiVersion: v1\nkind: Config\ncurrent-context: mine\ncontexts:\n- name: mine\n  context: {cluster: mine, user: mine}\n"
	if err := os.WriteFile(path, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	c.proa("up")
	if got := c.kubectl("config", "current-context"); got != "mine" {
		t.Errorf("the current context became %s", got)
	}
	if got := c.kubectl("config", "get-contexts", "-o", "name"); got != "mine\nproa" {
		t.Errorf("contexts: %q", got)
	}
	c.proa("reset", "--yes")
	if got := c.kubectl("config", "get-contexts", "-o", "name"); got != "mine" {
		t.Errorf("contexts after reset: %q", got)
	}
}

// TestBadDays starts proa where it cannot run: each time one clear sentence names the thing and the way out.
func TestBadDays(t *testing.T) {
	fails := func(c *cluster, want ...string) {
		t.Helper()
		out, err := c.Command("proa", "up").CombinedOutput()
		if err == nil {
			t.Fatalf("proa up succeeded:\n%s", out)
		}
		for _, w := range want {
			if !strings.Contains(string(out), w) {
				t.Errorf("proa up does not say %q:\n%s", w, out)
			}
		}
	}
	t.Run("port in use", func(t *testing.T) {
		c := newCluster(t, "")
		var l net.Listener
		if err := c.Within(func() (err error) { l, err = net.Listen("tcp", "0.0.0.0:6443"); return err }); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		fails(c, "6443", "api.listen")
	})
	t.Run("typo in the configuration", func(t *testing.T) {
		c := newCluster(t, "")
		good, err := os.ReadFile(c.Config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.Config, append([]byte("nod: box\n"), good...), 0o600); err != nil {
			t.Fatal(err)
		}
		fails(c, c.Config+":1", `did you mean "node"?`)
		if err := os.WriteFile(c.Config, good, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("data of another cluster", func(t *testing.T) {
		c := newCluster(t, "")
		c.proa("up")
		c.proa("down")
		if err := os.RemoveAll(filepath.Join(c.Dir, "data", "pki")); err != nil {
			t.Fatal(err)
		}
		fails(c, "another cluster", filepath.Join(c.Dir, "data"))
	})
}
