package proa

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/deployment"
	"proa.dev/control/endpointslice"
	"proa.dev/control/replicaset"
	"proa.dev/kit/run"
	"proa.dev/object"
	"proa.dev/scheduler"
	"proa.dev/sim"
	"proa.dev/store"
)

var update = flag.Bool("update", false, "rewrite golden files")

// transcript is a store that writes down what is written to it.
type transcript struct {
	store.Store

	mu    sync.Mutex // guards lines and on
	lines []string
	on    bool
}

func (t *transcript) Apply(ctx context.Context, w store.Write) (int64, error) {
	rev, err := t.Store.Apply(ctx, w)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && t.on && !strings.HasPrefix(w.Key, "/registry/events/") && !strings.HasPrefix(w.Key, "/registry/leases/") {
		verb := "update"
		if w.Delete {
			verb = "delete"
		} else if w.If == store.Absent {
			verb = "create"
		}
		t.lines = append(t.lines, verb+" "+strings.Split(strings.TrimPrefix(w.Key, "/registry/"), "/default")[0])
	}
	return rev, err
}

// Run is there because the embedded store has to run.
func (t *transcript) Run(ctx context.Context) error {
	return t.Store.(interface{ Run(context.Context) error }).Run(ctx)
}

// chain is how many of the first writes follow from one another. Those after it happen at the same time and are sorted.
const chain = 5

// TestFlow pins what a Deployment of one replica behind a Service costs from apply to ready endpoints: every write to the store.
// Chatter between the parts shows up here as a failing diff.
func TestFlow(t *testing.T) {
	log := &transcript{}
	api := apitest.Start(t, func(d *apiserver.Deps) { log.Store = d.Store; d.Store = log })
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	deps := control.Deps{Client: api.Client, View: api.View(), Log: quiet}
	deploy, err1 := deployment.New(deps)
	replicas, err2 := replicaset.New(deps)
	endpoints, err3 := endpointslice.New(deps)
	sched, err4 := scheduler.New(scheduler.Deps{Client: api.Client, View: api.View(), Log: quiet})
	nodes, err5 := sim.New(sim.Deps{Client: api.Client, View: api.View(), Nodes: 1, Log: quiet})
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run.All(ctx, run.Component{Name: "deployment", Run: deploy.Run}, run.Component{Name: "replicaset", Run: replicas.Run},
			run.Component{Name: "endpointslice", Run: endpoints.Run}, run.Component{Name: "scheduler", Run: sched.Run}, run.Component{Name: "nodes", Run: nodes.Run})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-nodes.Ready()

	if _, err := client.Create(ctx, api.Client, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/flow.txt"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	// A controller that reports progress waits some 50 ms for more to report. On a busy machine the pod may not be ready by then, and
	// the report comes in two writes: so the fewest of several rounds count.
	var got string
	for round := range 6 {
		name := fmt.Sprintf("web-%d", round)
		got = log.rollOut(t, api, name)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		if got == string(want) {
			return
		}
	}
	t.Errorf("writes (-want +got):\n%s", cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")))
}

// rollOut makes a Service and a Deployment of one replica and returns what was written until its endpoints are ready.
func (t *transcript) rollOut(tb testing.TB, api *apitest.Server, name string) string {
	tb.Helper()
	ctx, labels := tb.Context(), map[string]string{"app": name}
	key := object.Key{Namespace: "default", Name: name}
	if _, err := client.Create(ctx, api.Client, &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: core.ServiceSpec{Selector: labels, Ports: []core.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}); err != nil {
		tb.Fatal(err)
	}
	t.eventually(tb, func() bool {
		_, ok := onlySlice(api.View(), name)
		_, legacy := client.Lookup[core.Endpoints](api.View(), key)
		return ok && legacy
	})
	t.quiet() // what earlier rounds still have to write
	t.mu.Lock()
	t.on, t.lines = true, nil
	t.mu.Unlock()
	one := int32(1)
	if _, err := client.Create(ctx, api.Client, &apps.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: apps.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: core.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "none"}}}}}}); err != nil {
		tb.Fatal(err)
	}
	t.eventually(tb, func() bool {
		d, ok := client.Lookup[apps.Deployment](api.View(), key)
		ready, _ := onlySlice(api.View(), name)
		legacy, known := client.Lookup[core.Endpoints](api.View(), key)
		return ok && d.Status.AvailableReplicas == 1 && ready == 1 && known && len(legacy.Subsets) == 1 && len(legacy.Subsets[0].Addresses) == 1
	})
	return t.quiet()
}

// onlySlice counts the ready endpoints of the Service's only slice.
func onlySlice(v client.View, service string) (ready int, ok bool) {
	for _, s := range client.ListOf[discovery.EndpointSlice](v, client.Select{Namespace: "default"}) {
		if s.Labels["kubernetes.io/service-name"] != service {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				ready++
			}
		}
		ok = true
	}
	return ready, ok
}

// quiet is the transcript once nothing was written for a while.
func (t *transcript) quiet() string {
	for n := -1; ; time.Sleep(200 * time.Millisecond) {
		t.mu.Lock()
		lines := slices.Clone(t.lines)
		t.mu.Unlock()
		if len(lines) == n {
			slices.Sort(lines[min(chain, n):])
			return strings.Join(lines, "\n") + "\n"
		}
		n = len(lines)
	}
}

func (t *transcript) eventually(tb testing.TB, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.mu.Lock()
			defer t.mu.Unlock()
			tb.Fatalf("not after 20 s; written so far:\n%s", strings.Join(t.lines, "\n"))
		}
	}
}
