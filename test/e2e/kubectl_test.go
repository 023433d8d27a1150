package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestKubectl goes through the verbs of kubectl, on the shop and on a pod with a shell.
func TestKubectl(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	c.deployShop()
	c.shell()
	t.Run("get", c.getForms)
	t.Run("describe", c.describes)
	t.Run("create, edit, diff, apply", c.changes)
	t.Run("rollout", c.rollouts)
	t.Run("logs", c.logs)
	t.Run("exec", c.execs)
	t.Run("attach", c.attaches)
	t.Run("cp", c.copies)
	t.Run("port-forward", c.forwards)
	t.Run("explain", c.explains)
	t.Run("top", c.tops)
	t.Run("pages of the node", c.nodePages)
}

// tops looks at what is used, which nobody has asked for before: nodes, pods and the containers of one pod.
func (c *cluster) tops(t *testing.T) {
	for words, want := range map[string]string{"nodes": "box", "pods -A": "store-", "pod shell --containers": "shell"} {
		out, err := c.Command("kubectl", append([]string{"top"}, strings.Fields(words)...)...).CombinedOutput()
		if !regexp.MustCompile(`(?m)\b`+want+`.*\s\d+m\s.*\b\d+Mi\b`).Match(out) || err != nil {
			t.Errorf("kubectl top %s: %v\n%s", words, err, out)
		}
	}
}

// nodePages reads what a node says of itself.
func (c *cluster) nodePages(t *testing.T) {
	for page, words := range map[string][]string{
		"metrics": {"kubelet_running_pods ", `kubelet_node_name{node="box"} 1`, `kubelet_runtime_operations_total{operation_type="run_podsandbox"} `, "kubelet_pod_start_duration_seconds_count ",
			`kubelet_http_requests_total{long_running="true",method="POST",path="exec"`, "kubelet_graceful_shutdown_start_time_seconds 0", "process_resident_memory_bytes "},
		"metrics/cadvisor": {`container_cpu_usage_seconds_total{container="web"`, `container_spec_memory_limit_bytes{container="web"`, "container_last_seen{"},
		"configz":          {`"kind":"KubeletConfiguration"`, `"maxPods":110`, `"evictionHard":{`, `"clusterDomain":"cluster.local"`, `"enableSystemLogHandler":true`},
		"healthz?verbose":  {"[+]ping ok", "[+]syncloop ok", "healthz check passed"},
		"logs/":            {"<pre>"},
		"statusz":          {"kubelet statusz", "Emulation version: 1.37"},
		"flagz":            {"kubelet flagz", "kubelet.listen: "},
		"debug/pprof/":     {"goroutine"},
	} {
		c.says(t, []string{"get", "--raw", "/api/v1/nodes/box/proxy/" + page}, words...)
	}
	out, err := c.Command("kubectl", "get", "--raw", "/api/v1/nodes/box/proxy/metrics").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if line != "" && line[0] != '#' && !regexp.MustCompile(`^[a-z_]+(\{[^}]*\})? [0-9.e+-]+$`).MatchString(line) {
			t.Errorf("no line of metrics: %q", line)
		}
	}
}

// shell starts a pod named shell with busybox in it.
func (c *cluster) shell() {
	c.t.Helper()
	c.importDebian("docker.io/test/busybox:1", "busybox-static")
	c.apply(`{apiVersion: v1, kind: Pod, metadata: {name: shell, labels: {app: shell}}, spec: {terminationGracePeriodSeconds: 1, containers: [
		{name: sh, image: "docker.io/test/busybox:1", stdin: true, command: [/bin/busybox, sh, -c, "/bin/busybox --install -s /bin; echo started; exec cat"]}]}}`)
	c.kubectl("wait", "pod/shell", "--for=condition=Ready", "--timeout=60s")
}

// says fails the test unless what kubectl prints holds every word.
func (c *cluster) says(t *testing.T, args []string, words ...string) {
	t.Helper()
	out, err := c.Command("kubectl", args...).CombinedOutput()
	if err != nil {
		t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		return
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			t.Errorf("kubectl %s does not say %q:\n%s", strings.Join(args, " "), w, out)
		}
	}
}

func (c *cluster) getForms(t *testing.T) {
	c.says(t, []string{"get", "nodes"}, "NAME", "STATUS", "ROLES", "box", "Ready")
	c.says(t, []string{"get", "nodes", "-o", "wide"}, "INTERNAL-IP", nodeIP, c.runtimeName()+"://")
	c.says(t, []string{"-n", "shop", "get", "pods"}, "READY", "RESTARTS", "1/1", "Running")
	c.says(t, []string{"-n", "shop", "get", "pods", "-o", "wide"}, "NOMINATED NODE", "10.42.", "box")
	c.says(t, []string{"-n", "shop", "get", "deploy,rs,svc,cm,secret,endpointslices"}, "deployment.apps/web", "2/2", "service/store", "NodePort", "configmap/web", "secret/store", "endpointslice.discovery.k8s.io/web-")
	c.says(t, []string{"-n", "shop", "get", "deploy", "web", "-o", "yaml"}, "apiVersion: apps/v1", "observedGeneration: 1", "readyReplicas: 2")
	c.says(t, []string{"-n", "shop", "get", "deploy", "web", "-o", "json"}, `"kind": "Deployment"`)
	c.says(t, []string{"-n", "shop", "get", "deploy", "web", "-o", "name"}, "deployment.apps/web")
	c.says(t, []string{"-n", "shop", "get", "deploy", "web", "-o", "go-template={{.spec.replicas}}"}, "2")
	c.says(t, []string{"-n", "shop", "get", "deploy", "-o", "custom-columns=N:.metadata.name,R:.status.replicas"}, "web     2")
	c.says(t, []string{"get", "pods", "-A", "-l", "app=web", "--field-selector", "status.phase=Running", "--sort-by=.metadata.name", "--show-labels"}, "app=web,pod-template-hash=")
	c.says(t, []string{"get", "all", "-n", "shop"}, "pod/web-", "service/web", "deployment.apps/store", "replicaset.apps/store-")
	c.says(t, []string{"get", "--raw", "/readyz?verbose"}, "readyz check passed", "[+]")
	c.says(t, []string{"api-resources"}, "deployments", "apps/v1", "endpointslices")
	c.says(t, []string{"api-versions"}, "apps/v1", "rbac.authorization.k8s.io/v1")
	c.says(t, []string{"version"}, "Server Version: v1.")
	c.says(t, []string{"auth", "can-i", "create", "pods"}, "yes")
	out, err := c.Command("kubectl", "get", "pod", "nope").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `Error from server (NotFound): pods "nope" not found`) {
		t.Errorf("kubectl get pod nope: %v\n%s", err, out)
	}
	out, err = c.Command("kubectl", "get", "pods", "--as", "eve").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "default"`) {
		t.Errorf("kubectl get pods --as eve: %v\n%s", err, out)
	}
}

func (c *cluster) describes(t *testing.T) {
	c.says(t, []string{"-n", "shop", "describe", "pods", "-l", "app=store"}, "Successfully assigned shop/store-", "Started", "Readiness:", "the key 'password' in secret 'store'", "QoS Class:")
	c.says(t, []string{"-n", "shop", "describe", "deployment", "web"}, "Scaled up replica set web-", "MinimumReplicasAvailable", "RollingUpdateStrategy:")
	c.says(t, []string{"-n", "shop", "describe", "service", "web"}, "30080/TCP", "Endpoints:")
	c.says(t, []string{"describe", "node", "box"}, "KubeletReady", "Allocated resources:", "Non-terminated Pods:")
	c.says(t, []string{"-n", "shop", "describe", "secret", "store"}, "password:  28 bytes")
}

func (c *cluster) changes(t *testing.T) {
	c.says(t, []string{"create", "configmap", "one", "--from-literal=a=1"}, "configmap/one created")
	c.says(t, []string{"label", "configmap", "one", "x=y"}, "configmap/one labeled")
	c.says(t, []string{"annotate", "configmap", "one", "note=hello"}, "configmap/one annotated")
	edit := c.Command("kubectl", "edit", "configmap", "one")
	edit.Env = append(edit.Env, `KUBE_EDITOR=sed -i "s/^  a: .*/  a: two/"`)
	if out, err := edit.CombinedOutput(); err != nil || !strings.Contains(string(out), "configmap/one edited") {
		t.Errorf("kubectl edit: %v\n%s", err, out)
	}
	c.says(t, []string{"get", "configmap", "one", "-o", "jsonpath={.data.a}"}, "two")
	file := filepath.Join(c.Dir, "two.yaml")
	manifest := func(v string) {
		t.Helper()
		text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: two\ndata:\n  a: %s\n", v)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	manifest("first")
	c.says(t, []string{"apply", "-f", file}, "configmap/two created")
	c.says(t, []string{"apply", "-f", file}, "configmap/two unchanged")
	c.says(t, []string{"diff", "-f", file})
	manifest("second")
	out, err := c.Command("kubectl", "diff", "-f", file).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "+  a: second") {
		t.Errorf("kubectl diff: %v\n%s", err, out)
	}
	c.says(t, []string{"apply", "--dry-run=server", "-f", file}, "configmap/two configured (server dry run)")
	c.says(t, []string{"get", "configmap", "two", "-o", "jsonpath={.data.a}"}, "first")
	c.says(t, []string{"replace", "-f", file}, "configmap/two replaced")
	c.says(t, []string{"delete", "configmap", "one", "two"}, `configmap "two" deleted`)
	manifest("x\nspec: {}")
	out, err = c.Command("kubectl", "apply", "-f", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `unknown field "spec"`) {
		t.Errorf("apply with an unknown field: %v\n%s", err, out)
	}
}

func (c *cluster) rollouts(t *testing.T) {
	c.says(t, []string{"-n", "shop", "set", "image", "deployment/web", "web=docker.io/proa/shop-web:v2"}, "image updated")
	c.says(t, []string{"-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s"}, "successfully rolled out")
	c.says(t, []string{"-n", "shop", "rollout", "history", "deployment/web"}, "REVISION", "2")
	c.says(t, []string{"-n", "shop", "rollout", "undo", "deployment/web"}, "rolled back")
	c.says(t, []string{"-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s"}, "successfully rolled out")
	c.says(t, []string{"-n", "shop", "get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"}, "shop-web:v1")
	c.says(t, []string{"-n", "shop", "rollout", "restart", "deployment/web"}, "restarted")
	c.says(t, []string{"-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s"}, "successfully rolled out")
	c.says(t, []string{"-n", "shop", "scale", "deployment/web", "--replicas=3"}, "scaled")
	c.says(t, []string{"-n", "shop", "wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=60s"}, "condition met")
}

func (c *cluster) logs(t *testing.T) {
	c.says(t, []string{"-n", "shop", "logs", "deployment/store"}, "listening on")
	c.says(t, []string{"-n", "shop", "logs", "-l", "app=store", "--prefix", "--timestamps", "--tail=1"}, "[pod/store-", "Z ")
	follow := c.Command("kubectl", "logs", "-f", "shell")
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		follow.Process.Kill()
		follow.Wait()
	}()
	lines := bufio.NewScanner(out)
	for _, want := range []string{"started", "later"} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("logs -f: got %q, want %q", lines.Text(), want)
		}
		if want == "started" {
			say := c.Command("kubectl", "attach", "-i", "shell")
			say.Stdin = strings.NewReader("later\n")
			if err := say.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				say.Process.Kill()
				say.Wait()
			}()
		}
	}
}

func (c *cluster) execs(t *testing.T) {
	c.says(t, []string{"exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; hostname"}, "out\n", "err\n", "shell\n")
	cat := c.Command("kubectl", "exec", "-i", "shell", "--", "cat")
	cat.Stdin = strings.NewReader("through the pipe\n")
	if out, err := cat.CombinedOutput(); err != nil || string(out) != "through the pipe\n" {
		t.Errorf("kubectl exec -i: %v\n%s", err, out)
	}
	_, err := c.Command("kubectl", "exec", "shell", "--", "sh", "-c", "exit 7").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("the exit code of exec: %v, want 7", err)
	}
	out, err := c.Command("kubectl", "exec", "shell", "--", "nope").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "nope") {
		t.Errorf("exec of a missing program: %v\n%s", err, out)
	}
	c.says(t, []string{"-n", "shop", "exec", "deployment/web", "--", "/web", "-version"}, "web v1")
	tty := exec.Command("script", "-qec", filepath.Join(c.Bin, "kubectl")+" exec -it shell -- sh -c 'tty; stty size'", "/dev/null")
	tty.Env = c.Command("kubectl").Env
	if _, err := exec.LookPath("script"); err == nil {
		var b strings.Builder
		tty.Stdout, tty.Stderr = &b, &b
		err := errors.Join(c.Within(tty.Start), tty.Wait())
		if err != nil || !strings.Contains(b.String(), "/dev/pts/0") {
			t.Errorf("kubectl exec -it: %v\n%s", err, b.String())
		}
	}
}

func (c *cluster) attaches(t *testing.T) {
	attach := c.Command("kubectl", "attach", "-i", "shell")
	in, err := attach.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := attach.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		attach.Process.Kill()
		attach.Wait()
	}()
	if _, err := io.WriteString(in, "hello\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "hello\n" {
		t.Errorf("attach: %q, %v", line, err)
	}
}

func (c *cluster) copies(t *testing.T) {
	from, back := filepath.Join(c.Dir, "from"), filepath.Join(c.Dir, "back")
	if err := os.WriteFile(from, []byte("cargo"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.says(t, []string{"cp", from, "shell:/tmp/there"})
	c.says(t, []string{"cp", "shell:/tmp/there", back})
	if data, err := os.ReadFile(back); err != nil || string(data) != "cargo" {
		t.Errorf("what came back: %q, %v", data, err)
	}
}

func (c *cluster) forwards(t *testing.T) {
	forward := c.Command("kubectl", "-n", "shop", "port-forward", "service/web", "8099:80")
	out, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		forward.Process.Kill()
		forward.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "Forwarding from") {
		t.Fatalf("port-forward: %q, %v", line, err)
	}
	for range 3 {
		resp, err := c.web().Get("http://127.0.0.1:8099/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "served by") {
			t.Errorf("through port-forward: %s %v\n%s", resp.Status, err, body)
		}
	}
}

func (c *cluster) explains(t *testing.T) {
	c.says(t, []string{"explain", "deployment.spec.strategy"}, "rollingUpdate", "KIND:       Deployment")
	c.says(t, []string{"explain", "pod.spec.containers", "--recursive"}, "readinessProbe", "secretKeyRef")
	c.says(t, []string{"explain", "pod.spec.restartPolicy"}, "Always")
	out, err := c.Command("kubectl", "explain", "pod.spec.nope").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `field "nope" does not exist`) {
		t.Errorf("explain of a missing field: %v\n%s", err, out)
	}
}
