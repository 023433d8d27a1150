package metrics

import (
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"proa.dev/kinds"
)

// columns are those of the server that others install for this group.
func columns() []kinds.Column { return kinds.Columns("Name", "cpu", "memory", "Window") }

// NodeMetrics is metrics.k8s.io/v1beta1 NodeMetrics: what a node uses.
var NodeMetrics = kinds.Def[metrics.NodeMetrics, *metrics.NodeMetrics]{
	Path:    "metrics.k8s.io/v1beta1/nodes",
	Cluster: true,
	Virtual: true,
	Verbs:   []string{"get", "list"},
	Columns: columns(),
	Row: func(m *metrics.NodeMetrics, _ time.Time) []any {
		return []any{m.Name, text(m.Usage, core.ResourceCPU), text(m.Usage, core.ResourceMemory), m.Window.Duration.String()}
	},
}

// PodMetrics is metrics.k8s.io/v1beta1 PodMetrics: what the containers of a pod use.
var PodMetrics = kinds.Def[metrics.PodMetrics, *metrics.PodMetrics]{
	Path:    "metrics.k8s.io/v1beta1/pods",
	Virtual: true,
	Verbs:   []string{"get", "list"},
	Columns: columns(),
	Row: func(m *metrics.PodMetrics, _ time.Time) []any {
		sum := core.ResourceList{}
		for i := range m.Containers {
			for name, q := range m.Containers[i].Usage {
				s := sum[name]
				s.Add(q)
				sum[name] = s
			}
		}
		return []any{m.Name, text(sum, core.ResourceCPU), text(sum, core.ResourceMemory), m.Window.Duration.String()}
	},
}

func text(list core.ResourceList, name core.ResourceName) string {
	q, ok := list[name]
	if !ok {
		q = resource.Quantity{}
	}
	return q.String()
}

// Kinds is a new list of the kinds of this group.
func Kinds() []*kinds.Kind { return []*kinds.Kind{NodeMetrics.Kind(), PodMetrics.Kind()} }
