package kubelet_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// The page of metrics has what the kubelet did.
func TestRealMetrics(t *testing.T) {
	m := newMachine(t)
	m.create(boxPod("a", "sleep", "100s"))
	m.await("a", "runs", isReady)
	r, err := http.NewRequest(http.MethodGet, "http://"+m.ln.Addr().String()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := bearer{}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`kubelet_runtime_operations_total{operation_type="run_podsandbox"} 1`, `kubelet_runtime_operations_total{operation_type="start_container"} 1`,
		"kubelet_started_pods_total 1", "kubelet_running_pods 1", "kubelet_pod_start_duration_seconds_count 1", `kubelet_active_pods{static=""} 1`,
		"kubelet_orphan_pod_cleaned_volumes 0",
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
}
