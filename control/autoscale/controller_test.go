package autoscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

// fakeMetrics says of every pod that it uses milli of the CPU.
type fakeMetrics struct {
	milli  int64
	err    error
	values []Value
	asked  []string
}

func (f *fakeMetrics) Pods(_ context.Context, namespace string, sel labels.Selector) (out []*metrics.PodMetrics, err error) {
	f.asked = append(f.asked, "pods "+namespace+" "+sel.String())
	for i := range 10 {
		out = append(out, &metrics.PodMetrics{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("web-", i)}, Timestamp: metav1.Now(), Window: metav1.Duration{Duration: time.Second},
			Containers: []metrics.ContainerMetrics{{Name: "c", Usage: core.ResourceList{core.ResourceCPU: *resource.NewMilliQuantity(f.milli, resource.DecimalSI)}}}})
	}
	return out, f.err
}

func (f *fakeMetrics) Custom(_ context.Context, q Question) ([]Value, error) {
	f.asked = append(f.asked, fmt.Sprintf("custom %s %s/%s %s", q.Resource, q.Namespace, q.Name, q.Metric))
	return f.values, f.err
}

func (f *fakeMetrics) External(_ context.Context, namespace, metric string, sel labels.Selector) ([]Value, error) {
	f.asked = append(f.asked, "external "+namespace+" "+metric)
	return f.values, f.err
}

type world struct {
	*apitest.Server
	t       *testing.T
	metrics *fakeMetrics
	c       *Controller
}

func newWorld(t *testing.T) *world {
	w := &world{Server: apitest.Start(t), t: t, metrics: &fakeMetrics{}}
	events := record.New(w.Client, "horizontal-pod-autoscaler", "")
	controltest.Run(t, events.Run)
	var err error
	if w.c, err = New(control.Deps{Client: w.Client, View: w.View(), Events: events, Log: slog.New(slog.DiscardHandler)}, Config{Metrics: w.metrics}); err != nil {
		t.Fatal(err)
	}
	put(w, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	return w
}

func put[T any, P object.Ptr[T]](w *world, o P) P {
	w.t.Helper()
	made, err := client.Create(w.t.Context(), w.Client, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// deployment makes a Deployment of n replicas and their pods, which have been ready for an hour.
func (w *world) deployment(name string, n int32) {
	set := map[string]string{"app": name}
	template := core.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: set}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i",
		Resources: core.ResourceRequirements{Requests: core.ResourceList{core.ResourceCPU: resource.MustParse("1")}}}}}}
	put(w, &apps.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: apps.DeploymentSpec{Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: set}, Template: *template.DeepCopy()}})
	for i := range n {
		p := put(w, &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint(name, "-", i), Labels: set}, Spec: *template.Spec.DeepCopy()})
		p = object.Clone(p)
		ago := metav1.NewTime(time.Now().Add(-time.Hour))
		p.Status = core.PodStatus{Phase: core.PodRunning, StartTime: &ago, Conditions: []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue, LastTransitionTime: ago}}}
		if _, err := client.UpdateStatus(w.t.Context(), w.Client, p); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) scaler(name, kind string, most int32, specs ...autoscaling.MetricSpec) object.Key {
	h := scaler(1, most, specs...)
	h.Namespace, h.Name, h.Spec.ScaleTargetRef.Name, h.Spec.ScaleTargetRef.Kind = "default", name, name, kind
	put(w, h)
	return object.KeyOf(h)
}

// round reconciles once, and returns what the autoscaler has become.
func (w *world) round(key object.Key) *autoscaling.HorizontalPodAutoscaler {
	w.t.Helper()
	again, err := w.c.Reconcile(w.t.Context(), key)
	if err != nil || again != control.Again(15*time.Second) {
		w.t.Fatalf("again after %v, %v", time.Duration(again), err)
	}
	h, ok := client.Lookup[autoscaling.HorizontalPodAutoscaler](w.View(), key)
	if !ok {
		w.t.Fatal("gone")
	}
	return h
}

func conditions(h *autoscaling.HorizontalPodAutoscaler) string {
	var out []string
	for _, c := range h.Status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(out, ", ")
}

func (w *world) event(reason, message string) {
	w.t.Helper()
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if slices.ContainsFunc(client.ListOf[core.Event](w.View(), client.Select{Namespace: "default"}), func(e *core.Event) bool {
			return e.Reason == reason && e.Message == message && e.InvolvedObject.Kind == "HorizontalPodAutoscaler"
		}) {
			return
		}
	}
	w.t.Errorf("no event %s: %s", reason, message)
}

func TestDeploymentScalesByItsCPU(t *testing.T) {
	w := newWorld(t)
	w.deployment("web", 2)
	key := w.scaler("web", "Deployment", 10, cpuSpec(50))
	w.metrics.milli = 900
	h := w.round(key)
	d, _ := client.Lookup[apps.Deployment](w.View(), object.Key{Namespace: "default", Name: "web"})
	if *d.Spec.Replicas != 4 || h.Status.CurrentReplicas != 2 || h.Status.DesiredReplicas != 4 || h.Status.LastScaleTime == nil {
		t.Errorf("%d replicas, status %+v; want 4", *d.Spec.Replicas, h.Status)
	}
	if got := conditions(h); got != "AbleToScale=True SucceededRescale, ScalingActive=True ValidMetricFound, ScalingLimited=False DesiredWithinRange" {
		t.Errorf("conditions: %s", got)
	}
	if m := h.Status.CurrentMetrics; len(m) != 1 || *m[0].Resource.Current.AverageUtilization != 90 || m[0].Resource.Current.AverageValue.String() != "900m" {
		t.Errorf("metrics: %+v", m)
	}
	if w.metrics.asked[0] != "pods default app=web" {
		t.Errorf("asked for %q", w.metrics.asked)
	}
	w.event("SuccessfulRescale", "New size: 4; reason: cpu resource utilization (percentage of request) above target")

	// Another autoscaler of the same pods stops both.
	other := w.scaler("web2", "Deployment", 10, cpuSpec(50))
	w.t.Logf("%s", conditions(w.round(other)))
	w.event("FailedGetScale", `deployments.apps "web2" not found`)
	h2, _ := client.Lookup[autoscaling.HorizontalPodAutoscaler](w.View(), other)
	h2 = object.Clone(h2)
	h2.Spec.ScaleTargetRef.Name = "web"
	if _, err := client.Update(t.Context(), w.Client, h2); err != nil {
		t.Fatal(err)
	}
	w.round(other)
	if got := conditions(w.round(key)); !strings.Contains(got, "ScalingActive=False AmbiguousSelector") {
		t.Errorf("conditions: %s", got)
	}
	w.event("AmbiguousSelector", "pods by selector app=web are controlled by multiple HPAs: [default/web default/web2]")
	if err := client.Delete[autoscaling.HorizontalPodAutoscaler](t.Context(), w.Client, other, ""); err != nil {
		t.Fatal(err)
	}
	if again, err := w.c.Reconcile(t.Context(), other); again != control.Done || err != nil {
		t.Errorf("of one that is gone: %v, %v", again, err)
	}
	if got := conditions(w.round(key)); !strings.Contains(got, "ScalingActive=True") {
		t.Errorf("conditions: %s", got)
	}
}

func TestWhatCannotBeScaled(t *testing.T) {
	w := newWorld(t)
	for kind, message := range map[string]string{
		"Nothing": `no matches for kind "Nothing" in group "apps"`, "Deployment": `deployments.apps "x-deployment" not found`,
		"DaemonSet": "the server could not find the requested resource",
	} {
		name := "x-" + strings.ToLower(kind)
		if kind == "DaemonSet" {
			set := map[string]string{"a": "b"}
			put(w, &apps.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: apps.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: set},
				Template: core.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: set}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i"}}}}}})
		}
		h := w.round(w.scaler(name, kind, 3, cpuSpec(50)))
		if c := h.Status.Conditions[0]; c.Reason != "FailedGetScale" || c.Message != "the HPA controller was unable to get the target's current scale: "+message {
			t.Errorf("%s: %s: %s", kind, c.Reason, c.Message)
		}
	}
}

func TestOtherMetrics(t *testing.T) {
	one := resource.MustParse("1")
	id := autoscaling.MetricIdentifier{Name: "hits"}
	each := autoscaling.MetricTarget{Type: autoscaling.AverageValueMetricType, AverageValue: &one}
	whole := autoscaling.MetricTarget{Type: autoscaling.ValueMetricType, Value: &one}
	on := func(version, kind, name string, want autoscaling.MetricTarget) autoscaling.MetricSpec {
		return autoscaling.MetricSpec{Type: autoscaling.ObjectMetricSourceType, Object: &autoscaling.ObjectMetricSource{Metric: id, Target: want,
			DescribedObject: autoscaling.CrossVersionObjectReference{APIVersion: version, Kind: kind, Name: name}}}
	}
	value := func(pod, n string) Value {
		v := Value{Timestamp: metav1.Now(), Value: resource.MustParse(n)}
		v.DescribedObject.Name = pod
		return v
	}
	w := newWorld(t)
	w.deployment("web", 2)
	for i, tc := range []struct {
		spec   autoscaling.MetricSpec
		values []Value
		asked  string
		want   int32
		event  string
	}{
		{autoscaling.MetricSpec{Type: autoscaling.PodsMetricSourceType, Pods: &autoscaling.PodsMetricSource{Metric: id, Target: each}}, []Value{value("web-0", "1"), value("web-1", "2")}, "custom pods default/* hits", 3, "pods metric hits"},
		{on("networking.k8s.io/v1", "Ingress", "main", whole), []Value{value("main", "1500m")}, "custom ingresses.networking.k8s.io default/main hits", 3, "Ingress metric hits"},
		{on("v1", "Service", "main", each), []Value{value("main", "3")}, "custom services default/main hits", 3, "external metric hits(nil)"},
		{on("v1", "Namespace", "other", whole), []Value{value("x", "2")}, "custom namespaces default/ hits", 4, "Namespace metric hits"},
		{autoscaling.MetricSpec{Type: autoscaling.ExternalMetricSourceType, External: &autoscaling.ExternalMetricSource{Metric: id, Target: each}}, []Value{value("", "1"), value("", "2500m")}, "external default hits", 4, "external metric hits(nil)"},
		{autoscaling.MetricSpec{Type: autoscaling.ContainerResourceMetricSourceType, ContainerResource: &autoscaling.ContainerResourceMetricSource{Name: "cpu", Container: "c", Target: cpuSpec(45).Resource.Target}}, nil, "pods default app=web", 4, "cpu container resource utilization (percentage of request)"},
	} {
		w.metrics.values, w.metrics.asked, w.metrics.milli = tc.values, nil, 900
		key := w.scaler("web", "Deployment", 10, tc.spec)
		h := w.round(key)
		if !slices.Equal(w.metrics.asked, []string{tc.asked}) || h.Status.DesiredReplicas != tc.want {
			t.Errorf("%d: asked %q, got %d; want %q, %d (%s)", i, w.metrics.asked, h.Status.DesiredReplicas, tc.asked, tc.want, conditions(h))
		}
		w.event("SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s above target", tc.want, tc.event))
		if err := client.Delete[autoscaling.HorizontalPodAutoscaler](t.Context(), w.Client, key, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := w.c.Reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		d, _ := client.Lookup[apps.Deployment](w.View(), key)
		d = object.Clone(d)
		d.Spec.Replicas = new(int32(2))
		if _, err := client.Update(t.Context(), w.Client, d); err != nil {
			t.Fatal(err)
		}
	}
	w.metrics.values, w.metrics.err = nil, errors.New("none")
	h := w.round(w.scaler("web", "Deployment", 10, on("v1", "Service", "main", each), on("x/v1", "Y", "z", each)))
	if got := h.Status.Conditions[1].Message; got != "the HPA was unable to compute the replica count: unable to get metric hits: unable to fetch metrics from custom metrics API: none on Service default/main" {
		t.Errorf("message: %s", got)
	}
	w.event("FailedGetObjectMetric", `unable to get metric hits: unable to fetch metrics from custom metrics API: unable to map kind Y.x to resource: no matches for kind "Y" in group "x" on Y default/z`)
}

// It has a round when it appears and when its spec changes, and then with the time; its own status wakes nobody.
func TestRun(t *testing.T) {
	w := newWorld(t)
	w.deployment("web", 2)
	w.metrics.milli = 500
	began := time.Now()
	controltest.Run(t, w.c.Run)
	key := w.scaler("web", "Deployment", 10, cpuSpec(50))
	until := func(what string, ok func(*autoscaling.HorizontalPodAutoscaler) bool) {
		t.Helper()
		for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(2 * time.Millisecond) {
			if h, there := client.Lookup[autoscaling.HorizontalPodAutoscaler](w.View(), key); there && ok(h) {
				return
			}
		}
		t.Fatalf("waited 10 s for %s", what)
	}
	until("a status", func(h *autoscaling.HorizontalPodAutoscaler) bool { return h.Status.CurrentReplicas == 2 })
	h, _ := client.Lookup[autoscaling.HorizontalPodAutoscaler](w.View(), key)
	h = object.Clone(h)
	h.Spec.MinReplicas = new(int32(3))
	if _, err := client.Update(t.Context(), w.Client, h); err != nil {
		t.Fatal(err)
	}
	until("three", func(h *autoscaling.HorizontalPodAutoscaler) bool { return h.Status.DesiredReplicas == 3 })
	if got, most := len(w.metrics.asked), 1+int(time.Since(began)/(15*time.Second)); got > most {
		t.Errorf("metrics were asked for %d times, want %d", got, most)
	}
}

// silent never answers.
type silent struct{ fakeMetrics }

func (silent) External(ctx context.Context, _, _ string, _ labels.Selector) ([]Value, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestMetricsThatNeverCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(control.Deps{}, Config{Metrics: &silent{}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		got := c.measure(t.Context(), scaler(1, 10, externalSpec("1"), cpuSpec(50)), labels.Everything())
		if took := time.Since(began); took != patience || !errors.Is(got[0].err, context.DeadlineExceeded) || got[1].err != nil {
			t.Errorf("after %v: %v, %v", took, got[0].err, got[1].err)
		}
	})
}

func TestAPI(t *testing.T) {
	a := controltest.New(t)
	a.Serve(&registration.APIService{})
	var asked []string
	answer := `{"kind":"MetricValueList","items":[{"describedObject":{"name":"web-0"},"metricName":"hits","timestamp":"2026-01-02T12:00:00Z","windowSeconds":60,"value":"1500m"}]}`
	api := API{View: a.View(), Used: a.Client(), Raw: func(_ context.Context, t client.Target, q url.Values) ([]byte, error) {
		asked = append(asked, fmt.Sprintf("%s/%s %s %s %s %s?%s", t.Group, t.Version, t.Resource.Resource, t.Namespace, t.Name, t.Sub, q.Encode()))
		return []byte(answer), nil
	}}
	sel := labels.SelectorFromSet(labels.Set{"a": "b"})
	q := Question{Namespace: "ns", Name: "*", Objects: sel, Metric: "hits", Labels: labels.Nothing()}
	q.Resource.Resource = "pods"
	if _, err := api.Custom(t.Context(), q); err == nil || err.Error() != "no custom metrics API (custom.metrics.k8s.io) registered" {
		t.Errorf("nobody serves it: %v", err)
	}
	a.Put(&registration.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1beta1.custom.metrics.k8s.io"}})
	v, err := api.Custom(t.Context(), q)
	if err != nil || len(v) != 1 || v[0].DescribedObject.Name != "web-0" || v[0].Value.MilliValue() != 1500 || *v[0].WindowSeconds != 60 {
		t.Errorf("%+v, %v", v, err)
	}
	a.Put(&registration.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1beta2.custom.metrics.k8s.io"}})
	q.Name, q.Objects, q.Labels = "one", nil, sel
	q.Resource.Group, q.Resource.Resource = "apps", "deployments"
	if _, err := api.Custom(t.Context(), q); err != nil {
		t.Error(err)
	}
	q.Resource.Group, q.Resource.Resource = "", "namespaces"
	if _, err := api.Custom(t.Context(), q); err != nil {
		t.Error(err)
	}
	if _, err := api.External(t.Context(), "ns", "queue", sel); err != nil {
		t.Error(err)
	}
	want := []string{"custom.metrics.k8s.io/v1beta1 pods ns * hits?labelSelector=a%3Db", "custom.metrics.k8s.io/v1beta2 deployments.apps ns one hits?metricLabelSelector=a%3Db",
		"custom.metrics.k8s.io/v1beta2 metrics ns hits ?metricLabelSelector=a%3Db", "external.metrics.k8s.io/v1beta1 queue ns  ?labelSelector=a%3Db"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range []string{"../../../api/v1/secrets", "..", "."} {
		if _, err := api.External(t.Context(), "ns", name, sel); err == nil {
			t.Errorf("%q was asked for", name)
		}
	}
	if len(asked) != len(want) {
		t.Error("a path was left")
	}
	answer = "nonsense"
	var bad *json.SyntaxError
	if _, err := api.External(t.Context(), "ns", "queue", sel); !errors.As(err, &bad) {
		t.Errorf("nonsense: %v", err)
	}
}
