package resourcequota_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/resourcequota"
	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/object"
)

func start(t *testing.T) client.Client {
	t.Helper()
	s := apitest.Start(t, func(d *apiserver.Deps) { d.Plugins = append(d.Plugins, admission.Plugin(resourcequota.New)) })
	if _, err := client.Create(t.Context(), s.Client, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
		t.Fatal(err)
	}
	return s.Client
}

func list(of ...string) core.ResourceList {
	out := core.ResourceList{}
	for i := 0; i < len(of); i += 2 {
		out[core.ResourceName(of[i])] = resource.MustParse(of[i+1])
	}
	return out
}

// limit makes a quota whose use is known.
func limit(t *testing.T, c client.Client, name string, spec core.ResourceQuotaSpec, used core.ResourceList) {
	t.Helper()
	q, err := client.Create(t.Context(), c, &core.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	q = object.Clone(q)
	q.Status = core.ResourceQuotaStatus{Hard: spec.Hard, Used: used}
	if _, err := client.UpdateStatus(t.Context(), c, q); err != nil {
		t.Fatal(err)
	}
}

func used(t *testing.T, c client.Client, name string) core.ResourceList {
	t.Helper()
	q, err := client.Get[core.ResourceQuota](t.Context(), c, object.Key{Namespace: "default", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return q.Status.Used
}

// Fifty at once want what ten can have.
func TestNeverOverAdmits(t *testing.T) {
	c := start(t)
	limit(t, c, "ten", core.ResourceQuotaSpec{Hard: list("configmaps", "10", "count/configmaps", "12")}, list("configmaps", "0", "count/configmaps", "0"))
	var mu sync.Mutex
	made, refused := 0, map[string]int{}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			_, err := client.Create(context.Background(), c, &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("m", i)}})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case apierrors.IsForbidden(err):
				_, text, _ := strings.Cut(err.Error(), " is forbidden: ")
				refused[text]++
			default:
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
	want := "exceeded quota: ten, requested: configmaps=1, used: configmaps=10, limited: configmaps=10"
	if made != 10 || refused[want] != 40 {
		t.Errorf("%d were made, and refused were %v", made, refused)
	}
	if n := used(t, c, "ten")["configmaps"]; n.Value() != 10 {
		t.Errorf("used says %s, want 10", n.String())
	}
}

func pod(name string, change func(*core.PodSpec)) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i"}}}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func asks(cpu string) func(*core.PodSpec) {
	return func(s *core.PodSpec) { s.Containers[0].Resources.Requests = list("cpu", cpu) }
}

func TestWhatPodsMaySay(t *testing.T) {
	c := start(t)
	limit(t, c, "cpu", core.ResourceQuotaSpec{Hard: list("requests.cpu", "1", "pods", "3")}, list("requests.cpu", "500m", "pods", "1"))
	limit(t, c, "short", core.ResourceQuotaSpec{Hard: list("pods", "1"), Scopes: []core.ResourceQuotaScope{core.ResourceQuotaScopeTerminating}}, list("pods", "1"))
	limit(t, c, "unknown", core.ResourceQuotaSpec{Hard: list("requests.example.com/gpu", "1"), Scopes: []core.ResourceQuotaScope{core.ResourceQuotaScopePriorityClass}}, nil)
	for _, tc := range []struct {
		name, want string
		change     func(*core.PodSpec)
	}{
		{"silent", "failed quota: cpu: must specify requests.cpu for: c", nil},
		{"large", "exceeded quota: cpu, requested: requests.cpu=600m, used: requests.cpu=500m, limited: requests.cpu=1", asks("600m")},
		{"ends", "exceeded quota: short, requested: pods=1, used: pods=1, limited: pods=1", func(s *core.PodSpec) {
			asks("10m")(s)
			s.ActiveDeadlineSeconds = new(int64)
			*s.ActiveDeadlineSeconds = 5
		}},
		{"class", "status unknown for quota: unknown, resources: requests.example.com/gpu", func(s *core.PodSpec) {
			asks("10m")(s)
			s.PriorityClassName = "system-node-critical"
		}},
		{"fits", "", asks("500m")},
		{"fits", "exceeded quota: cpu, requested: requests.cpu=500m, used: requests.cpu=1, limited: requests.cpu=1", asks("500m")},
	} {
		_, err := client.Create(t.Context(), c, pod(tc.name, tc.change))
		want := ""
		if tc.want != "" {
			want = fmt.Sprintf("pods %q is forbidden: %s", tc.name, tc.want)
		}
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
			t.Errorf("%s: got %q, want %q", tc.name, got, want)
		}
	}
	// What cannot succeed takes nothing.
	limit(t, c, "roomy", core.ResourceQuotaSpec{Hard: list("services", "5", "services.nodeports", "2")}, list("services", "0", "services.nodeports", "0"))
	svc := &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Spec: core.ServiceSpec{Ports: []core.ServicePort{{Port: 80}}}}
	for range 3 {
		if _, err := client.Create(t.Context(), c, object.Clone(svc)); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	dry := client.TargetOf[core.Service](object.Key{Namespace: "default"})
	other := object.Clone(svc)
	other.Name = "dry"
	if _, err := c.Create(t.Context(), dry, other, metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	if n := used(t, c, "roomy")["services"]; n.Value() != 1 {
		t.Errorf("used says %s services, want 1", n.String())
	}
	// An update takes what is new.
	now, err := client.Get[core.Service](t.Context(), c, object.KeyOf(svc))
	if err != nil {
		t.Fatal(err)
	}
	now = object.Clone(now)
	now.Spec.Type = core.ServiceTypeNodePort
	if _, err := client.Update(t.Context(), c, now); err != nil {
		t.Fatal(err)
	}
	got := used(t, c, "roomy")
	if ports, n := got["services.nodeports"], got["services"]; ports.Value() != 1 || n.Value() != 1 {
		t.Errorf("used says %s node ports and %s services, want 1 and 1", ports.String(), n.String())
	}
}
