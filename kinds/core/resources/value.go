package resources

import (
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// Value checks an amount of a resource.
func Value(e *check.Errors, p *field.Path, n core.ResourceName, q resource.Quantity) {
	e.NonNegativeQuantity(p, q)
	if (counted(n) || Extended(n)) && q.MilliValue()%1000 != 0 {
		e.Invalid(p, q, "must be an integer")
	}
}

// DivisibleByPage says whether an amount of huge pages is a number of whole pages.
func DivisibleByPage(n core.ResourceName, q resource.Quantity) bool {
	page, err := resource.ParseQuantity(strings.TrimPrefix(string(n), core.ResourceHugePagesPrefix))
	return err == nil && page.Sign() > 0 && page.MilliValue()%1000 == 0 && q.Value()%page.Value() == 0
}

// RoundUp rounds to a thousandth, the finest step that Kubernetes keeps.
func RoundUp(l core.ResourceList) {
	for name, q := range l {
		if q.RoundUp(resource.Milli) {
			continue // nothing was lost
		}
		l[name] = q
	}
}
