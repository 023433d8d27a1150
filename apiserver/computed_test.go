package apiserver_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metricsapi "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/rest"
	"proa.dev/kinds/metrics"
	"proa.dev/object"
)

// Objects that are made when asked for are served as those that are stored.
func TestComputedKinds(t *testing.T) {
	s := apitest.Start(t, func(d *apiserver.Deps) {
		d.Kinds = append(d.Kinds, metrics.Kinds()...)
		d.Computed = map[schema.GroupVersionKind]rest.Computed{
			metrics.PodMetrics.Kind().GVK(): func(_ context.Context, namespace, _ string) (out []object.Object, _ error) {
				for _, name := range []string{"a", "b"} {
					out = append(out, &metricsapi.PodMetrics{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"n": name}}})
				}
				return out, nil
			},
		}
	})
	const path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
	var list metricsapi.PodMetricsList
	mustCall(t, s, 200, "GET", path+"?labelSelector=n%3Da", "", "", &list)
	if len(list.Items) != 1 || list.Items[0].Name != "a" || list.Kind != "PodMetricsList" {
		t.Errorf("list: got %+v", list)
	}
	list = metricsapi.PodMetricsList{}
	mustCall(t, s, 200, "GET", "/apis/metrics.k8s.io/v1beta1/pods", "", "", &list)
	if len(list.Items) != 2 {
		t.Errorf("list of all namespaces: got %+v", list)
	}
	var one metricsapi.PodMetrics
	mustCall(t, s, 200, "GET", path+"/b", "", "", &one)
	if one.Name != "b" || one.APIVersion != "metrics.k8s.io/v1beta1" {
		t.Errorf("get: got %+v", one)
	}
	var gone metav1.Status
	mustCall(t, s, 404, "GET", path+"/c", "", "", &gone)
	if want := `pods.metrics.k8s.io "c" not found`; gone.Message != want {
		t.Errorf("got %q, want %q", gone.Message, want)
	}
	mustCall(t, s, 405, "POST", path, "", `{"metadata":{"name":"d"}}`, nil)
	var groups metav1.APIResourceList
	mustCall(t, s, 200, "GET", "/apis/metrics.k8s.io/v1beta1", "", "", &groups)
	if len(groups.APIResources) != 2 || strings.Join(groups.APIResources[1].Verbs, " ") != "get list" {
		t.Errorf("discovery: got %+v", groups.APIResources)
	}
}
