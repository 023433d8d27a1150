package e2e

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"proa.dev/test/machine"
)

// TestTwoNodes joins a second machine to a cluster and cuts it off again.
func TestTwoNodes(t *testing.T) {
	c := newCluster(t, "")
	boat := c.beside()
	c.up()
	file := filepath.Join(boat.Dir, "server.kubeconfig")
	if err := os.WriteFile(file, []byte(c.proa("kubeconfig", "--node=boat", "--node-ip="+machine.PeerIP)), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := boat.agent(file)
	c.eventually(30*time.Second, "the agent registers", func() bool { return strings.Contains(c.kubectl("get", "nodes", "-o", "name"), "node/boat") })
	c.kubectl("wait", "--for=condition=Ready", "node/boat", "--timeout=60s")
	boat.importImages(c.Bin+"/images/shop-web.tar", c.Bin+"/images/shop-store.tar")
	before, beforeBoat := c.inventory(), boat.inventory()
	if got := c.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.podCIDR}"); got != "10.42.1.0/24 10.42.0.0/24" {
		t.Errorf("pod ranges of boat and box: %s", got)
	}

	c.deployShop()
	c.kubectl("-n", "shop", "scale", "deployment", "web", "--replicas=6")
	c.kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	pods := c.podsByNode()
	if len(pods["box"]) == 0 || len(pods["boat"]) == 0 {
		t.Fatalf("pods of the web by node: %v", pods)
	}
	for _, from := range []*cluster{c, boat} {
		for _, ip := range []string{machine.IP, machine.PeerIP} {
			from.reaches(ip, slices.Concat(pods["box"], pods["boat"]))
		}
	}
	c.says(t, []string{"-n", "shop", "logs", pods["boat"][0]}, "listening on")
	c.says(t, []string{"-n", "shop", "exec", pods["boat"][0], "--", "/web", "-version"}, "web v1")
	boat.mayNot(file)
	boat.seesChanges(c)
	if said := boat.proa("status"); !strings.Contains(said, "agent") {
		t.Errorf("proa status on the agent's machine:\n%s", said)
	}

	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait() // it was killed
	began := time.Now()
	c.kubectl("wait", "--for=condition=Ready=Unknown", "node/boat", "--timeout=90s")
	t.Logf("NotReady %s after the agent was killed", time.Since(began).Round(time.Second))
	c.eventually(30*time.Second, "the page comes from box alone", func() bool {
		seen := c.servers(machine.IP, 30)
		return len(seen) > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(p string) bool { return slices.Contains(pods["boat"], p) })
	})

	boat.agent(file)
	c.kubectl("wait", "--for=condition=Ready", "node/boat", "--timeout=60s")
	c.kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s")
	boat.reaches(machine.PeerIP, slices.Concat(pods["box"], pods["boat"]))
	c.kubectl("delete", "namespace", "shop", "--timeout=60s")
	c.inventoryIs(before)
	boat.inventoryIs(beforeBoat)
}

// seesChanges: what a pod shows follows its ConfigMaps, Secrets and trust bundles within moments, though an agent may watch each only by
// itself.
func (c *cluster) seesChanges(server *cluster) {
	c.t.Helper()
	server.apply(`apiVersion: v1
kind: ConfigMap
metadata: {name: word}
data: {said: one}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  nodeName: boat
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: "docker.io/proa/shop-web:v1", imagePullPolicy: Never, volumeMounts: [{name: word, mountPath: /word}, {name: more, mountPath: /more}]}]
  volumes:
  - {name: word, configMap: {name: word}}
  - name: more
    projected:
      sources:
      - secret: {name: late, optional: true}
      - clusterTrustBundle: {signerName: kubernetes.io/kube-apiserver-serving, labelSelector: {}, path: ca.pem}
`)
	server.kubectl("wait", "--for=condition=Ready", "pod/reader", "--timeout=60s")
	dir := filepath.Join(c.Dir, "kubelet")
	uid := server.kubectl("get", "pod", "reader", "-o", "jsonpath={.metadata.uid}")
	shows := func(file, want string) func() bool {
		return func() bool {
			text, err := os.ReadFile(filepath.Join(dir, file))
			return err == nil && strings.Contains(string(text), want)
		}
	}
	word, more := filepath.Join("pods", uid, "volumes/kubernetes.io~configmap/word/said"), filepath.Join("memory", uid, "more")
	c.eventually(5*time.Second, "the first word", shows(word, "one"))
	c.eventually(5*time.Second, "the server's certificate authority", shows(filepath.Join(more, "ca.pem"), "BEGIN CERTIFICATE"))
	const soon = 5 * time.Second // without watches it takes up to 30
	server.kubectl("patch", "configmap", "word", "-p", `{"data":{"said":"two"}}`)
	c.eventually(soon, "the second word", shows(word, "two"))
	server.kubectl("create", "secret", "generic", "late", "--from-literal=k=here")
	c.eventually(soon, "the secret that came late", shows(filepath.Join(more, "k"), "here"))
	server.kubectl("delete", "secret/late", "configmap/word", "pod/reader", "--timeout=30s")
}

// beside is a second machine on a wire to c.
func (c *cluster) beside() *cluster {
	c.t.Helper()
	var runtime *containerd
	extra := ""
	if c.other != nil {
		runtime = newContainerd(c.t)
		extra = runtime.settings()
	}
	m, err := c.Beside(c.t.TempDir(), extra)
	if err != nil {
		c.t.Fatal(err)
	}
	other := &cluster{m, c.t, runtime}
	if runtime != nil {
		runtime.start(other)
	}
	c.t.Cleanup(func() {
		if c.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(m.Dir, "agent.log")) // there is none if it never started
			c.t.Logf("log of the agent:\n%s", log[max(0, len(log)-10000):])
		}
		if out, err := other.Command("proa", "reset", "--yes").CombinedOutput(); err != nil {
			c.t.Errorf("proa reset: %v\n%s", err, out)
		}
		if err := m.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return other
}

// agent starts proa agent; the machine's reset stops it.
func (c *cluster) agent(kubeconfig string) *machine.Command {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(c.Dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := c.Command("proa", "agent", "--server-kubeconfig", kubeconfig)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	return cmd
}

// podsByNode lists the pods of the web.
func (c *cluster) podsByNode() map[string][]string {
	c.t.Helper()
	pods := map[string][]string{}
	list := c.kubectl("-n", "shop", "get", "pods", "-l", "app=web", "-o", `jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{"\n"}{end}`)
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		pods[f[0]] = append(pods[f[0]], f[1])
	}
	return pods
}

// servers asks for the page n times by one machine's node port and counts the pods that answer.
func (c *cluster) servers(ip string, n int) map[string]int {
	c.t.Helper()
	seen := map[string]int{}
	for range n {
		resp, err := c.web().Get(fmt.Sprintf("http://%s:30080/", ip))
		if err != nil {
			c.t.Logf("fetch the page of %s: %v", ip, err)
			return nil
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		m := served.FindSubmatch(body)
		if err != nil || m == nil || !strings.Contains(string(body), "store by name: store:6379") {
			c.t.Logf("page of %s: %v\n%s", ip, err, body)
			return nil
		}
		seen[string(m[1])]++
	}
	return seen
}

// reaches waits until the page comes from all of these pods, each of which finds the store by its name.
func (c *cluster) reaches(ip string, pods []string) {
	c.t.Helper()
	c.eventually(30*time.Second, "all pods answer at "+ip, func() bool { return len(c.servers(ip, 20*len(pods))) == len(pods) })
}

// mayNot tries what the certificate of a node must not open.
func (c *cluster) mayNot(kubeconfig string) {
	c.t.Helper()
	for _, args := range [][]string{
		{"get", "secrets", "-A"}, {"get", "configmaps", "-A"}, {"-n", "shop", "get", "deployments"}, {"label", "node", "box", "a=b"},
		{"-n", "kube-system", "get", "configmap", "kube-root-ca.crt"}, {"delete", "node", "box"}, {"create", "namespace", "mine"},
	} {
		out, err := c.Command("kubectl", append([]string{"--kubeconfig", kubeconfig}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Forbidden") {
			c.t.Errorf("the agent may kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
