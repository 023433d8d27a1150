package pod

import (
	"fmt"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestVictims(t *testing.T) {
	pod := func(name string, priority int32, cpu string) *core.Pod {
		p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u"}}
		p.Spec.Priority = &priority
		l := core.ResourceList{}
		if cpu != "" {
			l[core.ResourceCPU] = resource.MustParse(cpu)
		}
		p.Spec.Containers = []core.Container{{Name: "c", Resources: core.ResourceRequirements{Requests: l}}}
		return p
	}
	node := &core.Node{Status: core.NodeStatus{Allocatable: core.ResourceList{core.ResourceCPU: resource.MustParse("4")}}}
	others := []*core.Pod{
		pod("high", 100, "1"), pod("low-small", 0, "500m"), pod("low-big", 0, "2"), pod("none", 0, ""), pod("vital", 2_000_000_000, "500m"),
	}
	elsewhere := pod("x", 2_000_000_000, "1")
	elsewhere.Spec.OS = &core.PodOS{Name: core.Windows}
	for _, c := range []struct {
		pod     *core.Pod
		maxPods int
		want    string
	}{
		{pod("x", 2_000_000_000, "1"), 0, "[low-big]"}, // not the small one: it is of no help
		{pod("x", 2_000_000_000, "2500m"), 0, "[low-small low-big]"},
		{pod("x", 2_000_000_000, "3500m"), 0, "[low-small low-big high]"},
		{pod("x", 2_000_000_000, "4"), 0, "[]"}, // the vital one stays
		{pod("x", 2_000_000_000, ""), 5, "[none]"},
		{elsewhere, 0, "[]"}, // room would not help
	} {
		names := []string{}
		for _, v := range (&Rules{MaxPods: c.maxPods}).victims(c.pod, others, node) {
			names = append(names, v.Name)
		}
		if got := fmt.Sprint(names); got != c.want {
			t.Errorf("%v, at most %d pods: %s, want %s", c.pod.Spec.Containers[0].Resources.Requests, c.maxPods, got, c.want)
		}
	}
}
