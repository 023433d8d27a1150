package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"proa.dev/kit/roottest"
)

// nodeIP is the address of the only machine in a cluster's network.
const nodeIP = "192.168.77.1"

// cluster is one machine that runs proa.
type cluster struct {
	t      *testing.T
	bin    string // folder with proa and kubectl
	dir    string // everything the machine keeps
	run    string // its run directory: short, for the sockets in it
	config string
	ns     netns.NsHandle
}

// newCluster makes a machine on which nothing runs yet. extra is added to its configuration file.
func newCluster(t *testing.T, extra string) *cluster {
	t.Helper()
	roottest.Need(t, "containers are namespaces, cgroups and mounts")
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"proa", "kubectl", "images/shop-web.tar", "images/shop-store.tar"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Fatalf("%v: run make build images first", err)
		}
	}
	run, err := os.MkdirTemp("/run", "proa-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, bin: bin, dir: t.TempDir(), run: run}
	c.ns = newNamespace(t)
	c.config = filepath.Join(c.dir, "config.yaml")
	text := fmt.Sprintf("node: box\ndataDir: %[1]s/data\nrunDir: %[2]s\nkubeletDir: %[1]s/kubelet\npodLogs: %[1]s/pods\n"+
		"containerLogs: %[1]s/containers\ncgroupParent: /%[3]s\nkubeconfig: %[1]s/kubeconfig\nkubelet:\n  address: %[4]s\n%[5]s",
		c.dir, c.run, filepath.Base(c.run), nodeIP, extra)
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.diagnose()
		}
		if out, err := c.command("proa", "reset", "--yes").CombinedOutput(); err != nil {
			t.Errorf("proa reset: %v\n%s", err, out)
		}
		os.RemoveAll(run)
	})
	return c
}

// newNamespace makes a network namespace with one address and no route out.
func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer netns.Set(home)
	t.Cleanup(func() { ns.Close() })
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	uplink := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}
	addr, err := netlink.ParseAddr(nodeIP + "/24")
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"loopback up": netlink.LinkSetUp(lo), "add eth0": netlink.LinkAdd(uplink),
		"address eth0": netlink.AddrAdd(uplink, addr), "eth0 up": netlink.LinkSetUp(uplink),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	return ns
}

// within runs fn on a thread inside the machine's network namespace.
func (c *cluster) within(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(c.ns); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// command is a program of bin on this machine, ready to start. Its methods Output, CombinedOutput and Run work as usual.
func (c *cluster) command(name string, args ...string) *command {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "PROA_CONFIG="+c.config, "KUBECONFIG="+c.dir+"/kubeconfig", "HOME="+c.dir)
	return &command{cmd, c}
}

type command struct {
	*exec.Cmd
	c *cluster
}

// Start starts the program inside the machine's network namespace.
func (c *command) Start() error { return c.c.within(c.Cmd.Start) }

// Output runs it and returns what it printed; an error carries what it printed to stderr.
func (c *command) Output() ([]byte, error) {
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		return nil, err
	}
	if err := c.Wait(); err != nil {
		return out.Bytes(), fmt.Errorf("%w: %s", err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// CombinedOutput runs it and returns all that it printed.
func (c *command) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		return nil, err
	}
	err := c.Wait()
	return out.Bytes(), err
}

// proa runs one proa command that has to succeed.
func (c *cluster) proa(args ...string) string {
	c.t.Helper()
	out, err := c.command("proa", args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("proa %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// kubectl runs one kubectl command that has to succeed, and returns its output without the white space around it.
func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.command("kubectl", args...).Output()
	if err != nil {
		c.t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// apply applies a manifest.
func (c *cluster) apply(manifest string) {
	c.t.Helper()
	cmd := c.command("kubectl", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

// up starts the cluster and imports the shop's images.
func (c *cluster) up() {
	c.t.Helper()
	c.t.Log(c.proa("up"))
	c.proa("image", "import", c.bin+"/images/shop-web.tar", c.bin+"/images/shop-store.tar")
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
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = c.within(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
	}}
}

// diagnose prints what helps to understand a failure.
func (c *cluster) diagnose() {
	for _, args := range [][]string{{"get", "pods,deployments,services,endpointslices", "-A", "-o", "wide"}, {"get", "events", "-A"}, {"describe", "pods", "-A"}} {
		out, _ := c.command("kubectl", args...).CombinedOutput()
		c.t.Logf("kubectl %s:\n%s", strings.Join(args, " "), out)
	}
	log, _ := os.ReadFile(filepath.Join(c.dir, "data", "proa.log"))
	c.t.Logf("log:\n%s", log[max(0, len(log)-20000):])
}
