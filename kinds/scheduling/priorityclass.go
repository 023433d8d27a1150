package scheduling

import (
	"time"

	core "k8s.io/api/core/v1"
	scheduling "k8s.io/api/scheduling/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// PriorityClass is scheduling.k8s.io/v1 PriorityClass: a name for a priority of pods.
var PriorityClass = kinds.Def[scheduling.PriorityClass, *scheduling.PriorityClass]{
	Path:           "scheduling.k8s.io/v1/priorityclasses",
	Cluster:        true,
	Short:          []string{"pc"},
	ValidateCreate: validateClass, ValidateUpdate: validateClassUpdate,
	Default: func(c *scheduling.PriorityClass) {
		if c.PreemptionPolicy == nil {
			c.PreemptionPolicy = ptr.To(core.PreemptLowerPriority)
		}
	},
	Prepare: func(c, old *scheduling.PriorityClass) {
		if old == nil {
			c.Generation = 1 // and stays so: what counts of it is immutable
		}
	},
	Columns: kinds.Columns("Name", "Value:integer|"+scheduling.PriorityClass{}.SwaggerDoc()["value"],
		"Global-Default:boolean|"+scheduling.PriorityClass{}.SwaggerDoc()["globalDefault"], "Age",
		"PreemptionPolicy|"+scheduling.PriorityClass{}.SwaggerDoc()["preemptionPolicy"]),
	Row: func(c *scheduling.PriorityClass, now time.Time) []any {
		return []any{
			c.Name, int64(c.Value), c.GlobalDefault, kinds.Age(c.CreationTimestamp, now), string(ptr.Deref(c.PreemptionPolicy, "")),
		}
	},
}
