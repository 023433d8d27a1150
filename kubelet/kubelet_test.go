package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/kubelet"
	"proa.dev/kubelet/cri/critest"
	"proa.dev/object"
)

// tokens adds what the API in memory cannot: tokens.
type tokens struct{ client.Client }

func (c tokens) Create(ctx context.Context, t client.Target, o object.Object, opt metav1.CreateOptions) (object.Object, error) {
	if r, ok := o.(*authentication.TokenRequest); ok {
		r.Status.Token = "token of " + t.Name + " for " + r.Spec.BoundObjectRef.Name
		return r, nil
	}
	return c.Client.Create(ctx, t, o, opt)
}

type bench struct {
	t    testing.TB
	api  *controltest.API
	rt   *critest.Runtime
	conf kubelet.NodeConfig
	stop context.CancelFunc
	done chan error

	kubelet *kubelet.Kubelet // the one that runs
}

func newBench(t testing.TB, rt *critest.Runtime) *bench {
	dir := t.TempDir()
	b := &bench{t: t, api: controltest.New(t), rt: rt}
	b.conf = kubelet.NodeConfig{
		Name: "n1", IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Root: filepath.Join(dir, "kubelet"),
		PodLogs: filepath.Join(dir, "logs"), LogLinks: filepath.Join(dir, "links"), ClusterDNS: []string{"10.43.0.10"},
	}
	b.api.Serve(&core.Pod{}, &core.Secret{}, &core.ConfigMap{}, &core.Service{}, &core.PersistentVolumeClaim{}, &core.PersistentVolume{}, &core.Node{})
	b.start()
	t.Cleanup(func() {
		b.kill()
		unmountAll(t, dir)
	})
	return b
}

func (b *bench) start() {
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	k, err := kubelet.New(kubelet.Deps{
		Client: tokens{b.api.Client()}, View: b.api.View(), Runtime: b.rt, Images: b.rt, Node: b.conf,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop, b.done, b.kubelet = cancel, make(chan error, 1), k
	go func() { b.done <- k.Run(ctx) }()
}

// kill ends the kubelet without any farewell.
func (b *bench) kill() {
	b.stop()
	if err := <-b.done; err != nil && !errors.Is(err, context.Canceled) {
		b.t.Errorf("the kubelet ended: %v", err)
	}
}

// create binds a pod to the node.
func (b *bench) create(pod *core.Pod) *core.Pod {
	b.t.Helper()
	pod.Namespace, pod.Spec.NodeName = "default", "n1"
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = core.RestartPolicyAlways
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.TerminationMessagePath, c.TerminationMessagePolicy = "/dev/termination-log", core.TerminationMessageReadFile
	}
	p, err := client.Create(context.Background(), b.api.Client(), pod)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// await waits for a pod for which ok is true; nil is passed when there is no such pod.
func (b *bench) await(name, what string, ok func(*core.Pod) bool) *core.Pod {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var found *core.Pod
	met := false
	check := func(p *core.Pod) {
		if met = ok(p); met {
			found = p
			cancel()
		}
	}
	seen := false
	err := client.Watch(ctx, b.api.View(), func(t client.EventType, now, _ *core.Pod) {
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
		p, _ := client.Lookup[core.Pod](b.api.View(), object.Key{Namespace: "default", Name: name})
		b.t.Fatalf("pod %s: not %s (%v); it is %+v", name, what, err, p)
	}
	return found
}

func ready(p *core.Pod) bool {
	if p == nil || p.Status.Phase != core.PodRunning {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == core.PodReady {
			return c.Status == core.ConditionTrue
		}
	}
	return false
}

func TestPodLivesAndDies(t *testing.T) {
	rt := critest.New("web:1")
	b := newBench(t, rt)
	b.api.Put(
		&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "title"}, Data: map[string]string{"title": "Shop"}},
		&core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "password"}, Data: map[string][]byte{"password": []byte("hush")}},
		&core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "store"}, Spec: core.ServiceSpec{
			ClusterIP: "10.43.0.7", Ports: []core.ServicePort{{Port: 6379}},
		}},
	)
	seconds := int64(3600)
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}}, Spec: core.PodSpec{
		Containers: []core.Container{{
			Name: "web", Image: "web:1", Args: []string{"$(TITLE)", "$$(TITLE)"},
			Env: []core.EnvVar{
				{Name: "TITLE", ValueFrom: &core.EnvVarSource{ConfigMapKeyRef: &core.ConfigMapKeySelector{
					LocalObjectReference: core.LocalObjectReference{Name: "title"}, Key: "title"}}},
				{Name: "IP", ValueFrom: &core.EnvVarSource{FieldRef: &core.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			},
			VolumeMounts: []core.VolumeMount{
				{Name: "title", MountPath: "/title"}, {Name: "password", MountPath: "/password"}, {Name: "scratch", MountPath: "/scratch"},
				{Name: "token", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"},
			},
		}},
		Volumes: []core.Volume{
			{Name: "title", VolumeSource: core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{LocalObjectReference: core.LocalObjectReference{Name: "title"}}}},
			{Name: "password", VolumeSource: core.VolumeSource{Secret: &core.SecretVolumeSource{SecretName: "password"}}},
			{Name: "scratch", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}},
			{Name: "token", VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{
				{ServiceAccountToken: &core.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
				{DownwardAPI: &core.DownwardAPIProjection{Items: []core.DownwardAPIVolumeFile{{
					Path: "namespace", FieldRef: &core.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
			}}}},
		},
	}})
	began := time.Now()
	p := b.await("web", "ready", ready)
	t.Logf("created to ready: %v", time.Since(began))
	statuses := 0
	for _, w := range b.api.Writes() {
		if strings.Contains(w, "pods") && strings.Contains(w, "status") {
			statuses++
		}
	}
	if statuses != 1 {
		t.Errorf("%d writes of the status, want 1", statuses)
	}
	if got, want := p.Status.ContainerStatuses[0].ContainerID, "critest://"+rt.Find("web").ID; got != want {
		t.Errorf("container id %s, want %s", got, want)
	}
	c := rt.Find("web").Config
	if got := strings.Join(c.Args, " "); got != "Shop $(TITLE)" {
		t.Errorf("args %q", got)
	}
	env := map[string]string{}
	for _, e := range c.Envs {
		env[e.Key] = string(e.Value)
	}
	for k, want := range map[string]string{
		"TITLE": "Shop", "IP": "127.0.0.1", "STORE_SERVICE_HOST": "10.43.0.7", "STORE_PORT_6379_TCP_ADDR": "10.43.0.7",
		"STORE_PORT": "tcp://10.43.0.7:6379",
	} {
		if env[k] != want {
			t.Errorf("%s=%q, want %q", k, env[k], want)
		}
	}
	at := map[string]string{}
	for _, m := range c.Mounts {
		at[m.ContainerPath] = m.HostPath
	}
	for path, want := range map[string]string{
		"/title/title": "Shop", "/password/password": "hush",
		"/var/run/secrets/kubernetes.io/serviceaccount/token":     "token of default for web",
		"/var/run/secrets/kubernetes.io/serviceaccount/namespace": "default",
	} {
		got, err := os.ReadFile(filepath.Join(at[filepath.Dir(path)], filepath.Base(path)))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q (%v), want %q", path, got, err, want)
		}
	}

	// The volume follows its object.
	b.api.Put(&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "title"}, Data: map[string]string{"title": "Market"}})
	poll(t, "the new title", func() bool {
		got, err := os.ReadFile(filepath.Join(at["/title"], "title"))
		return err == nil && string(got) == "Market"
	})

	if err := client.Delete[core.Pod](context.Background(), b.api.Client(), object.KeyOf(p), p.UID); err != nil {
		t.Fatal(err)
	}
	b.await("web", "gone", func(p *core.Pod) bool { return p == nil })
	if s, c := rt.Count(); s+c != 0 {
		t.Errorf("%d sandboxes and %d containers are left", s, c)
	}
	for _, dir := range []string{
		filepath.Join(b.conf.Root, "pods", string(p.UID)), filepath.Join(b.conf.PodLogs, "default_web_"+string(p.UID)),
	} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestRestartWithBackOff(t *testing.T) {
	rt := critest.New()
	rt.Programs["crash:1"] = func(_ context.Context, c *critest.Container) int32 {
		if err := os.WriteFile(messageFile(c), []byte("last words"), 0o666); err != nil {
			return 99
		}
		return 3
	}
	b := newBench(t, rt)
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "crash"}, Spec: core.PodSpec{
		Containers: []core.Container{{Name: "c", Image: "crash:1"}},
	}})
	p := b.await("crash", "in back-off", func(p *core.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	s := p.Status.ContainerStatuses[0]
	want := fmt.Sprintf("back-off 10s restarting failed container=c pod=crash_default(%s)", p.UID)
	if s.State.Waiting.Message != want || s.RestartCount != 1 {
		t.Errorf("restarts %d, message %q, want 1 and %q", s.RestartCount, s.State.Waiting.Message, want)
	}
	if last := s.LastTerminationState.Terminated; last == nil || last.ExitCode != 3 || last.Reason != "Error" || last.Message != "last words" {
		t.Errorf("last state %+v", last)
	}
	if p.Status.Phase != core.PodRunning {
		t.Errorf("phase %s, want Running", p.Status.Phase)
	}
}

func TestImageThatDoesNotExist(t *testing.T) {
	b := newBench(t, critest.New())
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "none"}}}})
	for _, reason := range []string{"ErrImagePull", "ImagePullBackOff"} {
		b.await("x", reason, func(p *core.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
				p.Status.ContainerStatuses[0].State.Waiting.Reason == reason && p.Status.Phase == core.PodPending
		})
	}
}

func TestNextKubeletTakesOver(t *testing.T) {
	rt := critest.New("web:1")
	b := newBench(t, rt)
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "web:1"}}}})
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Spec: core.PodSpec{Containers: []core.Container{{Name: "o", Image: "web:1"}}}})
	before := b.await("web", "ready", ready)
	other := b.await("other", "ready", ready)
	b.kill()
	b.api.Remove(other)
	foreign, err := rt.RunPodSandbox(context.Background(), &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "f", Namespace: "f", Uid: "f"},
		Labels:   map[string]string{"io.kubernetes.pod.name": "f", "io.kubernetes.pod.namespace": "f", "io.kubernetes.pod.uid": "f"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.start()
	poll(t, "the pod that nobody knows to be removed", func() bool { s, _ := rt.Count(); return s == 2 })
	if _, err := rt.PodSandboxStatus(context.Background(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: foreign.PodSandboxId}); err != nil {
		t.Errorf("a pod of another kubelet was touched: %v", err)
	}
	b.await("web", "still ready", ready)
	after, _ := client.Lookup[core.Pod](b.api.View(), object.KeyOf(before))
	if got, want := after.Status.ContainerStatuses[0].ContainerID, before.Status.ContainerStatuses[0].ContainerID; got != want {
		t.Errorf("container %s, before the kubelet's death %s", got, want)
	}
	if n := after.Status.ContainerStatuses[0].RestartCount; n != 0 {
		t.Errorf("%d restarts", n)
	}
	rt.Find("c").Kill()
	b.await("web", "restarted", func(p *core.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
}

func TestJobPodSucceeds(t *testing.T) {
	rt := critest.New()
	rt.Programs["job:1"] = func(context.Context, *critest.Container) int32 { return 0 }
	b := newBench(t, rt)
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: core.PodSpec{
		RestartPolicy:  core.RestartPolicyNever,
		InitContainers: []core.Container{{Name: "i", Image: "job:1"}},
		Containers:     []core.Container{{Name: "c", Image: "job:1"}},
	}})
	p := b.await("job", "succeeded", func(p *core.Pod) bool { return p != nil && p.Status.Phase == core.PodSucceeded })
	if !p.Status.InitContainerStatuses[0].Ready {
		t.Error("the init container is not ready")
	}
	if rt.Calls("CreateContainer") != 2 {
		t.Errorf("%d containers were made", rt.Calls("CreateContainer"))
	}
	poll(t, "the sandbox to stop", func() bool { return rt.Calls("StopPodSandbox") > 0 })
}

func messageFile(c *critest.Container) string {
	for _, m := range c.Config.Mounts {
		if m.ContainerPath == "/dev/termination-log" {
			return m.HostPath
		}
	}
	return ""
}

func TestDeletedWhileItsImageIsPulled(t *testing.T) {
	rt := critest.New()
	pulling, stop := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop) })
	var once sync.Once
	rt.Fail = func(call string, _ any) error {
		if call == "PullImage" {
			once.Do(func() { close(pulling) })
			<-stop
		}
		return nil
	}
	b := newBench(t, rt)
	p := b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "none"}}}})
	<-pulling
	if err := client.Delete[core.Pod](context.Background(), b.api.Client(), object.KeyOf(p), p.UID); err != nil {
		t.Fatal(err)
	}
	// The pull of this runtime cannot be stopped, so the pod waits for it.
	go func() { stop <- struct{}{} }()
	b.await("x", "gone", func(p *core.Pod) bool { return p == nil })
	if s, c := rt.Count(); s+c != 0 {
		t.Errorf("%d sandboxes and %d containers are left", s, c)
	}
}

func TestVolumeThatIsMissing(t *testing.T) {
	rt := critest.New("web:1")
	b := newBench(t, rt)
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: core.PodSpec{
		Containers: []core.Container{{Name: "c", Image: "web:1", EnvFrom: []core.EnvFromSource{{
			SecretRef: &core.SecretEnvSource{LocalObjectReference: core.LocalObjectReference{Name: "env"}}}}}},
		Volumes: []core.Volume{{Name: "v", VolumeSource: core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{
			LocalObjectReference: core.LocalObjectReference{Name: "later"}}}}},
	}})
	b.await("web", "creating", func(p *core.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting.Reason == "ContainerCreating"
	})
	b.api.Put(&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "later"}})
	b.await("web", "in want of its environment", func(p *core.Pod) bool {
		return p != nil && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerConfigError"
	})
	began := time.Now()
	b.api.Put(&core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "env"}, Data: map[string][]byte{"A": []byte("b")}})
	b.await("web", "ready", ready)
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v to notice the Secret", d)
	}
}

func TestHooksAndSidecar(t *testing.T) {
	rt := critest.New("web:1")
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	rt.OnExec = func(c *critest.Container, cmd []string) (string, int32) {
		note(c.Config.Metadata.Name + " " + cmd[0])
		return "", 0
	}
	rt.Programs["web:1"] = func(ctx context.Context, c *critest.Container) int32 {
		<-ctx.Done()
		note(c.Config.Metadata.Name + " ends")
		return 0
	}
	b := newBench(t, rt)
	always := core.ContainerRestartPolicyAlways
	hook := func(cmd string) *core.LifecycleHandler {
		return &core.LifecycleHandler{Exec: &core.ExecAction{Command: []string{cmd}}}
	}
	p := b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: core.PodSpec{
		InitContainers: []core.Container{{Name: "side", Image: "web:1", RestartPolicy: &always}},
		Containers:     []core.Container{{Name: "c", Image: "web:1", Lifecycle: &core.Lifecycle{PostStart: hook("post"), PreStop: hook("pre")}}},
	}})
	b.await("web", "ready", ready)
	if err := client.Delete[core.Pod](context.Background(), b.api.Client(), object.KeyOf(p), p.UID); err != nil {
		t.Fatal(err)
	}
	b.await("web", "gone", func(p *core.Pod) bool { return p == nil })
	mu.Lock()
	defer mu.Unlock()
	if got, want := strings.Join(order, ", "), "c post, c pre, c ends, side ends"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestProbes(t *testing.T) {
	rt := critest.New("web:1")
	var healthy, alive atomic.Bool
	alive.Store(true)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" && !healthy.Load() || r.URL.Path == "/alive" && !alive.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(srv.Close)
	port := intstr.FromInt32(int32(srv.Listener.Addr().(*net.TCPAddr).Port))
	b := newBench(t, rt)
	get := func(path string) core.ProbeHandler {
		return core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Path: path, Port: port}}
	}
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: core.PodSpec{Containers: []core.Container{{
		Name: "c", Image: "web:1",
		StartupProbe:   &core.Probe{ProbeHandler: get("/"), PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: 3, SuccessThreshold: 1},
		ReadinessProbe: &core.Probe{ProbeHandler: get("/ready"), PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: 1, SuccessThreshold: 1},
		LivenessProbe:  &core.Probe{ProbeHandler: get("/alive"), PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: 2, SuccessThreshold: 1},
	}}}})
	b.await("web", "running but not ready", func(p *core.Pod) bool {
		return p != nil && p.Status.Phase == core.PodRunning && *p.Status.ContainerStatuses[0].Started && !p.Status.ContainerStatuses[0].Ready
	})
	healthy.Store(true)
	b.await("web", "ready", ready)
	healthy.Store(false)
	b.await("web", "not ready", func(p *core.Pod) bool { return p != nil && !ready(p) })
	healthy.Store(true)
	alive.Store(false)
	b.await("web", "restarted", func(p *core.Pod) bool { return p != nil && p.Status.ContainerStatuses[0].RestartCount > 0 })
}

func TestRejectedByTheNode(t *testing.T) {
	b := newBench(t, critest.New("web:1"))
	much := resource.MustParse("1000")
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "big"}, Spec: core.PodSpec{Containers: []core.Container{{
		Name: "c", Image: "web:1", Resources: core.ResourceRequirements{Requests: core.ResourceList{core.ResourceCPU: much}},
	}}}})
	p := b.await("big", "failed", func(p *core.Pod) bool { return p != nil && p.Status.Phase == core.PodFailed })
	if p.Status.Reason != "OutOfcpu" || !strings.HasPrefix(p.Status.Message, "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000, used: 0, capacity: ") {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
}

// What others advertise on the node is there for pods.
func TestExtendedResourceOfTheNode(t *testing.T) {
	b := newBench(t, critest.New("web:1"))
	const gadget = core.ResourceName("example.com/gadget")
	patch := client.Patch{Type: types.MergePatchType, Data: []byte(`{"status":{"capacity":{"example.com/gadget":"1"},"allocatable":{"example.com/gadget":"1"}}}`)}
	at := client.TargetOf[core.Node](object.Key{Name: "n1"})
	at.Sub = "status"
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // until the node has registered itself
		if _, err := b.api.Client().Patch(t.Context(), at, patch, metav1.PatchOptions{}); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]core.PodPhase{"one": core.PodRunning, "more": core.PodFailed} {
		q := map[string]resource.Quantity{"one": resource.MustParse("1"), "more": resource.MustParse("5")}[name]
		list := core.ResourceList{gadget: q}
		b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: core.PodSpec{Containers: []core.Container{{
			Name: "c", Image: "web:1", Resources: core.ResourceRequirements{Requests: list, Limits: list},
		}}}})
		b.await(name, string(want), func(p *core.Pod) bool { return p != nil && p.Status.Phase == want })
	}
}

func TestDeadline(t *testing.T) {
	rt := critest.New("web:1")
	b := newBench(t, rt)
	one := int64(1)
	b.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: core.PodSpec{
		ActiveDeadlineSeconds: &one, Containers: []core.Container{{Name: "c", Image: "web:1"}},
	}})
	p := b.await("web", "failed", func(p *core.Pod) bool { return p != nil && p.Status.Phase == core.PodFailed })
	if p.Status.Reason != "DeadlineExceeded" {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	poll(t, "the container to end", func() bool { return rt.Calls("StopContainer") == 1 && rt.Calls("StopPodSandbox") == 1 })
}

func TestStaticPod(t *testing.T) {
	rt := critest.New("web:1")
	b := newBench(t, rt)
	b.kill()
	b.conf.StaticPods = t.TempDir()
	manifest := filepath.Join(b.conf.StaticPods, "web.yaml")
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: 'web:1'}]\n"
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b.start()
	mirror := b.await("web-n1", "ready", ready)
	id := mirror.Status.ContainerStatuses[0].ContainerID

	if err := client.Delete[core.Pod](context.Background(), b.api.Client(), object.KeyOf(mirror), mirror.UID); err != nil {
		t.Fatal(err)
	}
	again := b.await("web-n1", "mirrored again", func(p *core.Pod) bool { return ready(p) && p.UID != mirror.UID })
	if got := again.Status.ContainerStatuses[0].ContainerID; got != id {
		t.Errorf("deleting the mirror replaced container %s by %s", id, got)
	}

	b.kill()
	b.start()
	b.await("web-n1", "ready", ready)
	if n := rt.Calls("CreateContainer"); n != 1 {
		t.Errorf("%d containers were made", n)
	}
	if err := os.WriteFile(manifest, []byte(strings.ReplaceAll(text, "name: c,", "name: d,")), 0o644); err != nil {
		t.Fatal(err)
	}
	b.await("web-n1", "changed", func(p *core.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].Name == "d" })
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	b.await("web-n1", "gone", func(p *core.Pod) bool { return p == nil })
	poll(t, "the containers to go", func() bool { s, c := rt.Count(); return s+c == 0 })
}

// BenchmarkOverhead is what the kubelet itself adds to a pod's start and end: runtime and API cost next to nothing here.
func BenchmarkOverhead(b *testing.B) {
	rt := critest.New("web:1")
	h := newBench(b, rt)
	b.ReportAllocs()
	for i := range b.N {
		name := fmt.Sprintf("p%d", i)
		p := h.create(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "web:1"}}}})
		h.await(name, "ready", ready)
		if err := client.Delete[core.Pod](context.Background(), h.api.Client(), object.KeyOf(p), p.UID); err != nil {
			b.Fatal(err)
		}
		h.await(name, "gone", func(p *core.Pod) bool { return p == nil })
	}
}
