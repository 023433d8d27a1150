package e2e

import (
	"cmp"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proa.dev/kit/roottest"
	"proa.dev/test/machine"
)

const nodeIP = machine.IP

// cluster is one machine that runs proa.
type cluster struct {
	*machine.Machine
	t     *testing.T
	other *containerd // nil: containers are proa's own
}

// newCluster makes a machine on which nothing of proa runs yet. extra is added to its configuration file. With PROA_TEST_RUNTIME=containerd
// a containerd runs there, which the node is to use.
func newCluster(t *testing.T, extra string) *cluster {
	t.Helper()
	switch name := os.Getenv("PROA_TEST_RUNTIME"); name {
	case "":
		return newClusterOn(t, nil, extra)
	case "containerd":
		other := newContainerd(t)
		c := newClusterOn(t, other, extra)
		other.start(c)
		return c
	default:
		t.Fatalf("PROA_TEST_RUNTIME is %q, not containerd", name)
		return nil
	}
}

// newClusterOn makes a machine with the programs of ../../bin or of $PROA_TEST_BIN. A runtime that is not nil is used in place of proa's own;
// it has been made before, so that it ends after the cluster.
func newClusterOn(t *testing.T, other *containerd, extra string) *cluster {
	t.Helper()
	roottest.Need(t, "containers are namespaces, cgroups and mounts")
	bin := cmp.Or(os.Getenv("PROA_TEST_BIN"), "../../bin")
	for _, name := range []string{"proa", "kubectl", "images/shop-web.tar", "images/shop-store.tar"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Fatalf("%v: run make build images first", err)
		}
	}
	if other != nil {
		extra += other.settings()
	}
	m, err := machine.New(bin, t.TempDir(), extra)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{m, t, other}
	t.Cleanup(func() {
		if t.Failed() {
			c.diagnose()
		}
		if out, err := c.Command("proa", "reset", "--yes").CombinedOutput(); err != nil {
			t.Errorf("proa reset: %v\n%s", err, out)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// proa runs one proa command that has to succeed.
func (c *cluster) proa(args ...string) string {
	c.t.Helper()
	out, err := c.Command("proa", args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("proa %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// kubectl runs one kubectl command that has to succeed, and returns its output without the white space around it.
func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.Command("kubectl", args...).Output()
	if err != nil {
		c.t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// apply applies a manifest.
func (c *cluster) apply(manifest string) {
	c.t.Helper()
	cmd := c.Command("kubectl", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader("---\n" + manifest) // older kubectl takes what begins with a brace for JSON
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

// up starts the cluster and imports the shop's images.
func (c *cluster) up() {
	c.t.Helper()
	c.t.Log(c.proa("up"))
	c.importImages(c.Bin+"/images/shop-web.tar", c.Bin+"/images/shop-store.tar")
}

// importImages brings the images of archives onto the machine.
func (c *cluster) importImages(archives ...string) {
	c.t.Helper()
	if c.other == nil {
		c.proa(append([]string{"image", "import"}, archives...)...)
		return
	}
	for _, file := range archives {
		if err := c.other.ctr("images", "import", file); err != nil {
			c.t.Fatal(err)
		}
	}
}

// runtimeName is the scheme of container ids.
func (c *cluster) runtimeName() string {
	if c.other == nil {
		return "proa"
	}
	return "containerd"
}

// eventually polls ok until it is true, and fails the test after the limit.
func (c *cluster) eventually(limit time.Duration, what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("not after %s: %s", limit, what)
		}
	}
}

// web is an HTTP client on this machine, one connection a request.
func (c *cluster) web() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       c.Dial,
	}}
}

// diagnose prints what helps to understand a failure.
func (c *cluster) diagnose() {
	for _, args := range [][]string{{"get", "pods,deployments,services,endpointslices", "-A", "-o", "wide"}, {"get", "events", "-A"}, {"describe", "pods", "-A"}} {
		out, _ := c.Command("kubectl", args...).CombinedOutput()
		c.t.Logf("kubectl %s:\n%s", strings.Join(args, " "), out)
	}
	log, _ := os.ReadFile(filepath.Join(c.Dir, "data", "proa.log"))
	c.t.Logf("log:\n%s", log[max(0, len(log)-20000):])
}
