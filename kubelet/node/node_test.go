package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri/critest"
	"proa.dev/kubelet/spec"
	"proa.dev/object"
)

type silent struct{}

func (silent) Event(object.Object, string, string, string, ...any) {}

func newNode(t *testing.T, api *controltest.API) *Node {
	root := t.TempDir()
	m, err := Look(root, 110)
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Deps{
		Client: api.Client(), View: api.View(), Runtime: critest.New(), Images: critest.New("web:1"), Events: silent{}, Machine: m,
		Spec:   &spec.Node{Name: "n1", Root: root, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}},
		Labels: map[string]string{"zone": "a"}, Taints: []core.Taint{{Key: "new", Effect: core.TaintEffectNoSchedule}}, Port: 10250, Version: "v1.37.2",
		Pressure: func(core.NodeConditionType) bool { return false }, Down: func() string { return "" }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func look(t *testing.T, api *controltest.API) (*core.Node, *coordination.Lease) {
	t.Helper()
	n, ok := client.Lookup[core.Node](api.View(), object.Key{Name: "n1"})
	l, ok2 := client.Lookup[coordination.Lease](api.View(), object.Key{Namespace: "kube-node-lease", Name: "n1"})
	if !ok || !ok2 {
		t.Fatal("the node or its lease is not there")
	}
	return n, l
}

func TestDown(t *testing.T) {
	api := controltest.New(t)
	n := newNode(t, api)
	down, rt := "", critest.New()
	n.Down, n.Runtime = func() string { return down }, rt
	for _, why := range []string{"", "node is shutting down", ""} {
		down = why
		if err := n.beat(context.Background()); err != nil {
			t.Fatal(err)
		}
		o, _ := look(t, api)
		c := o.Status.Conditions[len(o.Status.Conditions)-1]
		want := "True KubeletReady kubelet is posting ready status"
		if why != "" {
			want = "False KubeletNotReady " + why
		}
		if got := fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPressure(t *testing.T) {
	api := controltest.New(t)
	n := newNode(t, api)
	n.Pressure = func(c core.NodeConditionType) bool { return c == core.NodeDiskPressure }
	if err := n.beat(context.Background()); err != nil {
		t.Fatal(err)
	}
	o, _ := look(t, api)
	want := map[core.NodeConditionType]string{
		core.NodeMemoryPressure: "False KubeletHasSufficientMemory", core.NodeDiskPressure: "True KubeletHasDiskPressure",
		core.NodePIDPressure: "False KubeletHasSufficientPID", core.NodeReady: "True KubeletReady",
	}
	for _, c := range o.Status.Conditions {
		if got := string(c.Status) + " " + c.Reason; got != want[c.Type] {
			t.Errorf("%s: %s, want %s", c.Type, got, want[c.Type])
		}
		delete(want, c.Type)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestRegister(t *testing.T) {
	api := controltest.New(t)
	n := newNode(t, api)
	if err := n.beat(context.Background()); err != nil {
		t.Fatal(err)
	}
	o, l := look(t, api)
	if o.Labels["zone"] != "a" || o.Labels[core.LabelHostname] != "n1" || len(o.Spec.Taints) != 1 || o.Status.DaemonEndpoints.KubeletEndpoint.Port != 10250 {
		t.Errorf("%+v", o)
	}
	if len(o.Status.Addresses) != 3 || o.Status.Addresses[1].Address != "2001:db8::1" || o.Status.NodeInfo.ContainerRuntimeVersion != "critest://1" || len(o.Status.Images) != 1 {
		t.Errorf("%+v", o.Status)
	}
	cpu, pods := o.Status.Capacity[core.ResourceCPU], o.Status.Allocatable[core.ResourcePods]
	if cpu.Value() != int64(n.Machine.CPUs) || pods.Value() != 110 {
		t.Errorf("capacity %v, allocatable %v", o.Status.Capacity, o.Status.Allocatable)
	}
	if *l.Spec.HolderIdentity != "n1" || *l.Spec.LeaseDurationSeconds != 40 || len(l.OwnerReferences) != 1 {
		t.Errorf("%+v", l.Spec)
	}
	select {
	case <-n.Ready():
	default:
		t.Error("the node is not ready")
	}
	var page prom.Page
	n.Page(&page)
	for _, name := range []string{"pre_kubelet_", "pre_registration_", "registration_", "post_registration_", ""} {
		if !strings.Contains(page.String(), "\nkubelet_node_startup_"+name+"duration_seconds ") {
			t.Errorf("there is no %q in\n%s", name, &page)
		}
	}
	if !strings.Contains(page.String(), "\nkubelet_cgroup_version ") {
		t.Error("the version of cgroups is not told")
	}
	api.Writes()
	if err := n.beat(context.Background()); err != nil {
		t.Fatal(err)
	}
	if w := api.Writes(); len(w) != 1 { // the lease
		t.Errorf("a beat without news wrote %v", w)
	}
}

func TestKeepsWhatOthersWrote(t *testing.T) {
	api := controltest.New(t)
	n := newNode(t, api)
	if err := n.beat(context.Background()); err != nil {
		t.Fatal(err)
	}
	o, _ := look(t, api)
	o = object.Clone(o)
	o.Labels["mine"] = "yes"
	delete(o.Labels, "zone")
	o.Spec.Taints = nil
	o, err := client.Update(context.Background(), api.Client(), o)
	if err != nil {
		t.Fatal(err)
	}
	o = object.Clone(o)
	o.Status.Capacity["example.com/gpu"] = resource.MustParse("2")
	o.Status.Conditions = append(o.Status.Conditions, core.NodeCondition{Type: "Kernel", Status: core.ConditionTrue})
	if _, err := client.UpdateStatus(context.Background(), api.Client(), o); err != nil {
		t.Fatal(err)
	}
	n.told = time.Now().Add(-time.Hour)
	if err := n.beat(context.Background()); err != nil {
		t.Fatal(err)
	}
	o, _ = look(t, api)
	gpu := o.Status.Capacity["example.com/gpu"]
	if gpu.Value() != 2 || o.Labels["mine"] != "yes" || o.Labels["zone"] != "" || len(o.Spec.Taints) != 0 || len(o.Status.Conditions) != 5 {
		t.Errorf("labels %v, taints %v, capacity %v, conditions %v", o.Labels, o.Spec.Taints, o.Status.Capacity, o.Status.Conditions)
	}
}

func TestComesBackAfterItWasDeleted(t *testing.T) {
	api := controltest.New(t)
	n := newNode(t, api)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	<-n.Ready()
	first, ok := client.Lookup[core.Node](api.View(), object.Key{Name: "n1"}) // its lease may come a moment later
	if !ok {
		t.Fatal("the node is ready and not there")
	}
	if err := api.Client().Delete(ctx, client.TargetOf[core.Node](object.Key{Name: "n1"}), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if now, ok := client.Lookup[core.Node](api.View(), object.Key{Name: "n1"}); ok && now.UID != first.UID {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the node did not register again")
		}
	}
}
