package kubelet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/stream"
	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/kit/roottest"
	"proa.dev/kubelet"
	"proa.dev/object"
	"proa.dev/runtime/cri"
	"proa.dev/runtime/image"
	"proa.dev/runtime/oci/ocitest"
	"proa.dev/runtime/sandbox"
	"proa.dev/runtime/snapshot"
)

func TestMain(m *testing.M) {
	code := m.Run()
	ocitest.CleanUp()
	os.Exit(code)
}

// images is one image, "box:1", made of the test program, for the runtime and for the kubelet.
type images struct {
	layer, dir string
	mu         sync.Mutex // guards held
	held       map[string]bool
}

func (i *images) Config(context.Context, string) (string, ocispec.Image, error) {
	return "sha256:box", ocispec.Image{Config: ocispec.ImageConfig{Env: []string{"PATH=/bin"}, Entrypoint: []string{"box"}}}, nil
}

func (i *images) Prepare(_ context.Context, key, _ string) (image.Rootfs, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held[key] = true
	r := image.Rootfs{Lower: []string{i.layer}, Upper: filepath.Join(i.dir, key, "u"), Work: filepath.Join(i.dir, key, "w")}
	return r, errors.Join(os.MkdirAll(r.Upper, 0o755), os.MkdirAll(r.Work, 0o755))
}

func (i *images) SnapshotUsage(context.Context, string) (snapshot.Usage, error) {
	return snapshot.Usage{}, nil
}

func (i *images) Release(_ context.Context, key string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.held, key)
	return os.RemoveAll(filepath.Join(i.dir, key))
}

func (i *images) Prepared() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var keys []string
	for k := range i.held {
		keys = append(keys, k)
	}
	return keys
}

func (i *images) ImageStatus(_ context.Context, q *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	if q.Image.Image != "box:1" {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: "sha256:box", RepoTags: []string{"box:1"}, Size: 1}}, nil
}

func (i *images) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{Images: []*runtimeapi.Image{{Id: "sha256:box", RepoTags: []string{"box:1"}, Size: 1}}}, nil
}

func (i *images) PullImage(context.Context, *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	return nil, errors.New("there is no registry here")
}

func (i *images) RemoveImage(context.Context, *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return &runtimeapi.RemoveImageResponse{}, nil
}

func (i *images) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}

// lonely is a network that connects nothing.
type lonely struct{}

func (lonely) Attach(context.Context, sandbox.NetworkPod) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("10.42.0.9")}, nil
}

func (lonely) Detach(context.Context, sandbox.NetworkPod) error { return nil }

// machine is a node with everything real: API server and store, runtime and containers. Only its pods have no network.
type machine struct {
	t      testing.TB
	dir    string
	api    *apitest.Server
	rt     *cri.Runtime
	deps   cri.Deps
	images *images
	ln     net.Listener
	conf   func(*kubelet.NodeConfig) // what is unusual about this node; nil: nothing
	stop   func()
	k      *kubelet.Kubelet
}

// late is the connector that exists only after the server whose View it reads.
type late struct{ *stream.Streams }

func newMachine(t testing.TB) *machine {
	roottest.Need(t, "containers")
	dir := t.TempDir()
	m := &machine{t: t, dir: dir, images: &images{layer: ocitest.RootFS(t), dir: filepath.Join(dir, "snapshots"), held: map[string]bool{}}}
	connect := &late{}
	m.api = apitest.Start(t, func(d *apiserver.Deps) { d.Connect = connect })
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	connect.Streams = stream.New(stream.Deps{View: m.api.View(), Log: log, Kubelet: func(*core.Node) (string, http.RoundTripper, error) {
		return "http://" + m.ln.Addr().String(), bearer{}, nil
	}})
	m.deps = cri.Deps{
		Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run"), Images: m.images, Network: lonely{},
		CgroupParent: fmt.Sprintf("/proa-kubelet-test-%d", time.Now().UnixNano()), KeeperPath: ocitest.KeeperPath(t), Log: log,
	}
	ctx := context.Background()
	if _, err := client.Create(ctx, m.api.Client, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(m.clean)
	m.start()
	return m
}

// bearer authenticates to the kubelet.
type bearer struct{}

func (bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer admin,system:masters")
	return http.DefaultTransport.RoundTrip(r)
}

func (m *machine) start() {
	m.t.Helper()
	rt, err := cri.New(m.deps)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		m.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	events := record.New(m.api.Client, "kubelet", "n1")
	conf := kubelet.NodeConfig{
		Name: "n1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Root: filepath.Join(m.dir, "kubelet"),
		PodLogs: filepath.Join(m.dir, "logs"), LogLinks: filepath.Join(m.dir, "links"), CgroupParent: m.deps.CgroupParent,
	}
	if m.conf != nil {
		m.conf(&conf)
	}
	k, err := kubelet.New(kubelet.Deps{
		Client: m.api.Client, View: m.api.View(), Runtime: rt, Images: m.images, Events: events, Log: log,
		Serve: kubelet.ServeConfig{Listener: m.ln},
		Node:  conf,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.rt, m.k = rt, k
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	for _, run := range []func(context.Context) error{rt.Run, k.Run, events.Run} {
		go func() { done <- run(ctx) }()
	}
	m.stop = func() {
		cancel()
		for range 3 {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				m.t.Errorf("ended: %v", err)
			}
		}
	}
	select {
	case <-k.Ready():
	case <-time.After(20 * time.Second):
		m.t.Fatal("the node was not ready after 20 s")
	}
}

// clean deletes all pods through the API and looks for leftovers.
func (m *machine) clean() {
	ctx := context.Background()
	for _, p := range client.ListOf[core.Pod](m.api.View(), client.Select{}) {
		var zero int64
		err := m.api.Client.Delete(ctx, client.TargetOf[core.Pod](object.KeyOf(p)), metav1.DeleteOptions{GracePeriodSeconds: &zero})
		if err != nil && !apierrors.IsNotFound(err) {
			m.t.Error(err)
		}
	}
	left := func() (n int) {
		boxes, err := m.rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
		if err != nil {
			m.t.Error(err)
		}
		dirs, _ := os.ReadDir(filepath.Join(m.dir, "kubelet", "pods"))
		return len(boxes.GetItems()) + len(dirs)
	}
	for end := time.Now().Add(20 * time.Second); left() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Errorf("%d sandboxes and directories are left", left())
			break
		}
	}
	m.stop()
	unmountAll(m.t, m.dir)
	m.sweepCgroups()
}

// sweepCgroups removes what stays of the cgroups when no pod is left: the levels above the pods.
func (m *machine) sweepCgroups() {
	trees, err := filepath.Glob("/sys/fs/cgroup/*" + m.deps.CgroupParent)
	if err != nil {
		m.t.Error(err)
	}
	for _, tree := range append(trees, "/sys/fs/cgroup"+m.deps.CgroupParent) {
		var dirs []string
		_ = filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error { // a tree that is not there has nothing to sweep
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, d := range slices.Backward(dirs) {
			if strings.Contains(filepath.Base(d), "pod") && filepath.Base(d) != "kubepods" {
				m.t.Errorf("left: %s", d)
			}
			err := os.Remove(d)
			for end := time.Now().Add(5 * time.Second); errors.Is(err, syscall.EBUSY) && time.Now().Before(end); err = os.Remove(d) {
				time.Sleep(5 * time.Millisecond) // a keeper that has nothing left to keep is about to end
			}
			if err != nil {
				m.t.Error(err)
			}
		}
	}
}

func boxPod(name string, args ...string) *core.Pod {
	no := false
	return &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: core.PodSpec{
		NodeName: "n1", AutomountServiceAccountToken: &no,
		Containers: []core.Container{{Name: "c", Image: "box:1", Args: args}},
	}}
}

func (m *machine) create(p *core.Pod) *core.Pod {
	m.t.Helper()
	p, err := client.Create(context.Background(), m.api.Client, p)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

func (m *machine) await(name, what string, ok func(*core.Pod) bool) *core.Pod {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var found *core.Pod
	met, seen := false, false
	check := func(p *core.Pod) {
		if met = ok(p); met {
			found = p
			cancel()
		}
	}
	err := client.Watch(ctx, m.api.View(), func(t client.EventType, now, _ *core.Pod) {
		switch {
		case met:
		case t == client.Synced && !seen, now != nil && now.Name == name && t == client.Deleted:
			check(nil)
		case now != nil && now.Name == name:
			seen = true
			check(now)
		}
	})
	if !met {
		p, _ := client.Lookup[core.Pod](m.api.View(), object.Key{Namespace: "default", Name: name})
		m.t.Fatalf("pod %s: not %s (%v); it is %+v", name, what, err, p.Status)
	}
	return found
}

func isReady(p *core.Pod) bool {
	if p == nil || p.Status.Phase != core.PodRunning {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == core.PodReady && c.Status == core.ConditionTrue {
			return true
		}
	}
	return false
}

func (m *machine) get(path string) (int, string) {
	m.t.Helper()
	resp, err := http.Get(m.api.URL + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (m *machine) exec(pod string, cmd ...string) (string, error) {
	m.t.Helper()
	q := url.Values{"command": cmd, "stdout": {"true"}, "stderr": {"true"}}
	conf := &rest.Config{Host: m.api.URL}
	e, err := remotecommand.NewWebSocketExecutor(conf, "GET", m.api.URL+"/api/v1/namespaces/default/pods/"+pod+"/exec?"+q.Encode())
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
	return out.String() + errs.String(), err
}

func TestRealPod(t *testing.T) {
	m := newMachine(t)
	p := boxPod("web", "polite")
	p.Spec.Containers[0].Env = []core.EnvVar{{Name: "NODE", ValueFrom: &core.EnvVarSource{FieldRef: &core.ObjectFieldSelector{FieldPath: "spec.nodeName"}}}}
	p.Spec.Volumes = []core.Volume{{Name: "scratch", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}}
	p.Spec.Containers[0].VolumeMounts = []core.VolumeMount{{Name: "scratch", MountPath: "/scratch/deep", SubPath: "a/b"}}
	began := time.Now()
	m.create(p)
	p = m.await("web", "ready", isReady)
	t.Logf("created to ready: %v", time.Since(began))
	if p.Status.PodIP != "10.42.0.9" || !strings.HasPrefix(p.Status.ContainerStatuses[0].ContainerID, "proa://") {
		t.Errorf("status %+v", p.Status)
	}

	poll(t, "the first line of the log", func() bool {
		code, log := m.get("/api/v1/namespaces/default/pods/web/log")
		return code == 200 && log == "ready\n"
	})
	if out, err := m.exec("web", "box", "env"); err != nil || !strings.Contains(out, "NODE=n1\n") || !strings.Contains(out, "KUBERNETES_SERVICE_HOST=10.43.0.1\n") {
		t.Errorf("env: %q, %v", out, err)
	}
	if out, err := m.exec("web", "box", "cat", "/etc/hosts"); err != nil || !strings.HasPrefix(out, "# Kubernetes-managed hosts file.\n") || !strings.Contains(out, "10.42.0.9\tweb\n") {
		t.Errorf("hosts: %q, %v", out, err)
	}
	if out, err := m.exec("web", "box", "ls", "/scratch/deep"); err != nil || out != "" {
		t.Errorf("subPath: %q, %v", out, err)
	}

	// The daemon dies; the container does not.
	m.stop()
	m.start()
	m.await("web", "ready again", isReady)
	now, _ := client.Lookup[core.Pod](m.api.View(), object.KeyOf(p))
	if now.Status.ContainerStatuses[0].ContainerID != p.Status.ContainerStatuses[0].ContainerID || now.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("after the kubelet's death: %+v", now.Status.ContainerStatuses[0])
	}
	if out, err := m.exec("web", "box", "hostname"); err != nil || strings.TrimSpace(out) != "web" {
		t.Errorf("hostname: %q, %v", out, err)
	}

	follow := make(chan string, 1)
	go func() {
		_, log := m.get("/api/v1/namespaces/default/pods/web/log?follow=true&tailLines=1")
		follow <- log
	}()
	began = time.Now()
	if err := client.Delete[core.Pod](context.Background(), m.api.Client, object.KeyOf(p), p.UID); err != nil {
		t.Fatal(err)
	}
	m.await("web", "gone", func(p *core.Pod) bool { return p == nil })
	t.Logf("deleted to gone: %v", time.Since(began))
	select {
	case <-follow:
	case <-time.After(10 * time.Second):
		t.Error("following the log did not end with the container")
	}
}

func TestRealCrash(t *testing.T) {
	m := newMachine(t)
	p := boxPod("crash", "exit", "7")
	m.create(p)
	p = m.await("crash", "in back-off", func(p *core.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 7 || last.Reason != "Error" {
		t.Errorf("last state %+v", last)
	}
	if code, body := m.get("/api/v1/namespaces/default/pods/crash/log?previous=true"); code != 200 {
		t.Errorf("previous log: %d %s", code, body)
	}
}

func TestRealManyPods(t *testing.T) {
	m := newMachine(t)
	const n = 30
	began := time.Now()
	for i := range n {
		m.create(boxPod(fmt.Sprintf("p%d", i), "polite"))
	}
	created := time.Since(began)
	for i := range n {
		m.await(fmt.Sprintf("p%d", i), "ready", isReady)
	}
	t.Logf("%d pods created in %v, all ready after %v", n, created, time.Since(began))
}

func TestRealForced(t *testing.T) {
	m := newMachine(t)
	p := boxPod("deaf", "stubborn")
	hour := int64(3600)
	p.Spec.TerminationGracePeriodSeconds = &hour
	m.create(p) // clean deletes it by force, and would wait in vain for an hour
	m.await("deaf", "ready", isReady)
}

func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// BenchmarkPod is measure 3: from the create of a pod bound to a node to Ready as a watch sees it, one pod after the other.
func BenchmarkPod(b *testing.B) {
	m := newMachine(b)
	m.create(boxPod("warm", "polite"))
	m.await("warm", "ready", isReady)
	b.ResetTimer()
	for i := range b.N {
		name := fmt.Sprintf("p%d", i)
		m.create(boxPod(name, "polite"))
		m.await(name, "ready", isReady)
	}
}
