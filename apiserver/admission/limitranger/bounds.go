package limitranger

import (
	"fmt"
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// outside says in what ways requests and limits are outside of a LimitRange, in Kubernetes' words.
func outside(l *core.LimitRangeItem, requests, limits core.ResourceList) (errs []error) {
	for _, n := range slices.Sorted(maps.Keys(l.Min)) {
		errs = append(errs, tooLittle(l, n, requests, limits))
	}
	for _, n := range slices.Sorted(maps.Keys(l.Max)) {
		errs = append(errs, tooMuch(l, n, requests, limits))
	}
	for _, n := range slices.Sorted(maps.Keys(l.MaxLimitRequestRatio)) {
		errs = append(errs, tooWide(l, n, requests, limits))
	}
	return errs
}

// checkClaim is outside for a claim, which has requests only.
func checkClaim(l *core.LimitRangeItem, requests core.ResourceList) (errs []error) {
	for _, n := range slices.Sorted(maps.Keys(l.Min)) {
		errs = append(errs, tooLittle(l, n, requests, nil))
	}
	for _, n := range slices.Sorted(maps.Keys(l.Max)) {
		most, what := l.Max[n], fmt.Sprintf("maximum %s usage per %s is", n, l.Type)
		request, ok := requests[n]
		if !ok {
			errs = append(errs, fmt.Errorf("%s %s.  No request is specified", what, most.String()))
		} else if v := values(request, most); v[0] > v[1] {
			errs = append(errs, fmt.Errorf("%s %s, but request is %s", what, most.String(), request.String()))
		}
	}
	return errs
}

func tooLittle(l *core.LimitRangeItem, n core.ResourceName, requests, limits core.ResourceList) error {
	least, what := l.Min[n], fmt.Sprintf("minimum %s usage per %s is", n, l.Type)
	request, requested := requests[n]
	limit, limited := limits[n]
	v := values(request, limit, least)
	switch {
	case !requested:
		return fmt.Errorf("%s %s.  No request is specified", what, least.String())
	case v[0] < v[2]:
		return fmt.Errorf("%s %s, but request is %s", what, least.String(), request.String())
	case limited && v[1] < v[2]:
		return fmt.Errorf("%s %s, but limit is %s", what, least.String(), limit.String())
	}
	return nil
}

func tooMuch(l *core.LimitRangeItem, n core.ResourceName, requests, limits core.ResourceList) error {
	most, what := l.Max[n], fmt.Sprintf("maximum %s usage per %s is", n, l.Type)
	request, requested := requests[n]
	limit, limited := limits[n]
	v := values(request, limit, most)
	switch {
	case !limited:
		return fmt.Errorf("%s %s.  No limit is specified", what, most.String())
	case v[1] > v[2]:
		return fmt.Errorf("%s %s, but limit is %s", what, most.String(), limit.String())
	case requested && v[0] > v[2]:
		return fmt.Errorf("%s %s, but request is %s", what, most.String(), request.String())
	}
	return nil
}

func tooWide(l *core.LimitRangeItem, n core.ResourceName, requests, limits core.ResourceList) error {
	most, what := l.MaxLimitRequestRatio[n], fmt.Sprintf("%s max limit to request ratio per %s is", n, l.Type)
	request, requested := requests[n]
	limit, limited := limits[n]
	v := values(request, limit, most)
	switch {
	case !requested || v[0] == 0:
		return fmt.Errorf("%s %s, but no request is specified or request is 0", what, most.String())
	case !limited || v[1] == 0:
		return fmt.Errorf("%s %s, but no limit is specified or limit is 0", what, most.String())
	}
	ratio, scaled, bound := float64(v[1])/float64(v[0]), 1.0, float64(most.Value())
	if most.Value() <= resource.MaxMilliValue {
		scaled, bound = 1000, float64(most.MilliValue())
	}
	if ratio*scaled > bound {
		return fmt.Errorf("%s %s, but provided ratio is %f", what, most.String(), ratio)
	}
	return nil
}

// values are amounts in a unit that they can be compared in: thousandths, unless one is too large for that.
func values(list ...resource.Quantity) []int64 {
	out := make([]int64, len(list))
	fine := true
	for i, q := range list {
		out[i] = q.Value()
		fine = fine && out[i] <= resource.MaxMilliValue
	}
	if fine {
		for i, q := range list {
			out[i] = q.MilliValue()
		}
	}
	return out
}
