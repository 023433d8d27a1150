package quota

import (
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Add is a + b.
func Add(a, b core.ResourceList) core.ResourceList {
	out := a.DeepCopy()
	if out == nil {
		out = core.ResourceList{}
	}
	for n, q := range b {
		sum := out[n]
		if _, ok := out[n]; !ok {
			out[n] = q.DeepCopy()
			continue
		}
		sum.Add(q)
		out[n] = sum
	}
	return out
}

// More is what a has more than b; nothing is less than zero, and zeros are left out.
func More(a, b core.ResourceList) core.ResourceList {
	out := core.ResourceList{}
	for n, q := range a {
		q = q.DeepCopy()
		q.Sub(b[n])
		if q.Sign() > 0 {
			out[n] = q
		}
	}
	return out
}

// Mask is what of a has one of these names.
func Mask(a core.ResourceList, names []core.ResourceName) core.ResourceList {
	out := core.ResourceList{}
	for n, q := range a {
		if slices.Contains(names, n) {
			out[n] = q.DeepCopy()
		}
	}
	return out
}

// Equal says whether two lists have the same names with the same amounts.
func Equal(a, b core.ResourceList) bool {
	return maps.EqualFunc(a, b, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
}

// Text is "cpu=1,memory=2Gi".
func Text(l core.ResourceList) string {
	parts := make([]string, 0, len(l))
	for _, n := range slices.Sorted(maps.Keys(l)) {
		q := l[n]
		parts = append(parts, string(n)+"="+q.String())
	}
	return strings.Join(parts, ",")
}
