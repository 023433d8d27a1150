package process

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"

	"proa.dev/config"
)

func TestReserved(t *testing.T) {
	got, err := reservedOf(config.Kubelet{
		SystemReserved: map[string]string{"cpu": "500m", "memory": "1Gi", "pid": "1000"}, KubeReserved: map[string]string{"cpu": "250m"},
	})
	if cpu, mem := got[core.ResourceCPU], got[core.ResourceMemory]; err != nil || len(got) != 2 || cpu.MilliValue() != 750 || mem.Value() != 1<<30 {
		t.Errorf("%v, %v", got, err)
	}
	for text, want := range map[string]string{"x": "is not a quantity", "-1": "is not a quantity"} {
		if _, err := reservedOf(config.Kubelet{KubeReserved: map[string]string{"cpu": text}}); err == nil || !strings.Contains(err.Error(), "kubelet.kubeReserved: cpu: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := reservedOf(config.Kubelet{SystemReserved: map[string]string{"disk": "1"}}); err == nil || !strings.Contains(err.Error(), `kubelet.systemReserved: "disk" is not one of`) {
		t.Error(err)
	}
}
