package cri_test

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestMetrics: what is measured is described, with as many labels, and is what runs.
func TestMetrics(t *testing.T) {
	h := newHost(t)
	id := h.run(h.runPod(h.pod("metrics")), ctr("main", "sleep", "1h"))
	known, err := h.rt.ListMetricDescriptors(t.Context(), &runtimeapi.ListMetricDescriptorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]int{}
	for _, d := range known.Descriptors {
		labels[d.Name] = len(d.LabelKeys)
	}
	resp, err := h.rt.ListPodSandboxMetrics(t.Context(), &runtimeapi.ListPodSandboxMetricsRequest{})
	if err != nil || len(resp.PodMetrics) != 1 || len(resp.PodMetrics[0].ContainerMetrics) != 1 || resp.PodMetrics[0].ContainerMetrics[0].ContainerId != id {
		t.Fatalf("%v, %v", resp, err)
	}
	used := uint64(0)
	for _, m := range append(resp.PodMetrics[0].Metrics, resp.PodMetrics[0].ContainerMetrics[0].Metrics...) {
		if n, ok := labels[m.Name]; !ok || n != len(m.LabelValues) || m.Value == nil {
			t.Errorf("metric %v", m)
		}
		if m.Name == "container_memory_usage_bytes" {
			used = m.Value.Value
		}
	}
	if used == 0 {
		t.Error("a container that uses no memory")
	}
}
