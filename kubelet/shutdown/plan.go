package shutdown

import (
	"cmp"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
)

// Period is how many seconds pods of a priority, and those up to the next period's, have to end.
type Period struct {
	Priority int32
	Seconds  int64
}

// critical is the priority from which pods are critical to the cluster.
const critical = 2000000000

// Periods are those of a whole time and the critical pods' share at its end; nothing for no time.
func Periods(whole, forCritical time.Duration) []Period {
	if whole <= 0 || forCritical > whole {
		return nil
	}
	return []Period{{0, int64((whole - forCritical) / time.Second)}, {critical, int64(forCritical / time.Second)}}
}

// whole is the time of all periods.
func whole(periods []Period) (sum time.Duration) {
	for _, p := range periods {
		sum += time.Duration(p.Seconds) * time.Second
	}
	return sum
}

// group is the pods that end together.
type group struct {
	Period
	pods []*core.Pod
}

// plan sorts pods that run into the periods, the first to end first; groups without pods are left out.
func plan(periods []Period, pods []*core.Pod) (out []group) {
	periods = slices.SortedStableFunc(slices.Values(periods), func(a, b Period) int { return cmp.Compare(a.Priority, b.Priority) })
	groups := make([]group, len(periods))
	for i, p := range periods {
		groups[i].Period = p
	}
	for _, p := range pods {
		if p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed {
			continue
		}
		var priority int32
		if p.Spec.Priority != nil {
			priority = *p.Spec.Priority
		}
		at := 0 // those below all periods end with the first
		for i := range groups {
			if groups[i].Priority <= priority {
				at = i
			}
		}
		groups[at].pods = append(groups[at].pods, p)
	}
	for _, g := range groups {
		if len(g.pods) > 0 {
			out = append(out, g)
		}
	}
	return out
}
