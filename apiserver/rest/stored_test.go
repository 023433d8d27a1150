package rest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/kinds"
	"proa.dev/object"
)

func TestAsStored(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want object.Object
	}{
		{"list in a list", &storage.CSINode{Spec: storage.CSINodeSpec{Drivers: []storage.CSINodeDriver{{Name: "d", TopologyKeys: []string{}}}}},
			&storage.CSINode{Spec: storage.CSINodeSpec{Drivers: []storage.CSINodeDriver{{Name: "d"}}}}},
		{"list of the status", &autoscaling.HorizontalPodAutoscaler{Status: autoscaling.HorizontalPodAutoscalerStatus{CurrentMetrics: []autoscaling.MetricStatus{}}},
			&autoscaling.HorizontalPodAutoscaler{}},
		{"behind a pointer", &resourcev1.ResourceClaim{Status: resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{
			NodeSelector: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{}}}}},
			&resourcev1.ResourceClaim{Status: resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{NodeSelector: &core.NodeSelector{}}}}},
		{"what JSON leaves out stays", &core.ConfigMap{Data: map[string]string{}}, &core.ConfigMap{Data: map[string]string{}}},
		{"what is not empty stays", &core.Pod{Spec: core.PodSpec{Containers: []core.Container{{Name: "c"}}}}, &core.Pod{Spec: core.PodSpec{Containers: []core.Container{{Name: "c"}}}}},
	} {
		s := &Served{Kind: &kinds.Kind{}}
		s.asStored(c.got)
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
