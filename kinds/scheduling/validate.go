package scheduling

import (
	"fmt"
	"strings"

	scheduling "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

// highestOfUsers is the greatest priority that is not reserved for the cluster itself.
const highestOfUsers = 1_000_000_000

// system are the only classes whose name begins with "system-".
var system = map[string]int32{"system-node-critical": 2*highestOfUsers + 1000, "system-cluster-critical": 2 * highestOfUsers}

func validateClass(c *scheduling.PriorityClass) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if strings.HasPrefix(c.Name, "system-") {
			if problem := notSystem(c); problem != "" {
				e.Forbidden(field.NewPath("metadata", "name"),
					"priority class names with 'system-' prefix are reserved for system use only. error: "+problem)
			}
		} else if c.Value > highestOfUsers {
			e.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", highestOfUsers))
		}
		if c.PreemptionPolicy != nil {
			core.PreemptionPolicy(e, field.NewPath("preemptionPolicy"), *c.PreemptionPolicy)
		}
	})
}

func notSystem(c *scheduling.PriorityClass) string {
	switch v, ok := system[c.Name]; {
	case !ok:
		return fmt.Sprintf("%v is not a known system priority class", c.Name)
	case v != c.Value:
		return fmt.Sprintf("value of %v PriorityClass must be %v", c.Name, v)
	case c.GlobalDefault:
		return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", c.Name, false)
	}
	return ""
}

func validateClassUpdate(c, old *scheduling.PriorityClass) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if c.Value != old.Value {
			e.Forbidden(field.NewPath("value"), "may not be changed in an update.")
		}
		e.Immutable(field.NewPath("preemptionPolicy"), c.PreemptionPolicy, old.PreemptionPolicy)
	})
}
