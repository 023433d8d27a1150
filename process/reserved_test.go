package process

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

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

// Eviction's threshold counts, as the configuration or the default says it.
func TestKeptMemory(t *testing.T) {
	reserved := core.ResourceList{core.ResourceMemory: resource.MustParse("1Gi")}
	for want, c := range map[string]config.Kubelet{"1124Mi": {}, "1Gi": {EvictionHard: map[string]string{}}, "1088Mi": {EvictionHard: map[string]string{"memory.available": "64Mi"}}} {
		if got, err := keptMemory(c, reserved); err != nil || got.String() != want {
			t.Errorf("%s, %v, want %s", got.String(), err, want)
		}
	}
	p, err := policiesOf(config.Kubelet{ReservedMemory: []config.ReservedMemory{
		{NUMANode: 0, Limits: map[string]string{"memory": "1Gi"}}, {NUMANode: 0, Limits: map[string]string{"hugepages-2Mi": "2Mi"}},
	}}, nil)
	if err != nil || len(p.ReservedMemory[0]) != 2 {
		t.Errorf("%v, %v", p.ReservedMemory, err)
	}
}
