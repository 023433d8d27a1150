package daemonset

import (
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// limits is maxSurge and maxUnavailable as numbers of nodes, both rounded up, of those that should run a pod. They are never both 0.
func (t *turn) limits() (surge, unavailable int) {
	ru := t.ds.Spec.UpdateStrategy.RollingUpdate
	if ru == nil {
		return 0, 1
	}
	scaled := func(v *intstr.IntOrString) int {
		if v == nil {
			return 0
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(v, int(t.status.DesiredNumberScheduled), true)
		if err != nil {
			return 0 // validation refuses what does not parse
		}
		return n
	}
	surge, unavailable = scaled(ru.MaxSurge), scaled(ru.MaxUnavailable)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func (t *turn) surge() int {
	surge, _ := t.limits()
	return surge
}

// newAndOld are the live pods of a node, by revision. ok is false while there are more of them than that.
func (t *turn) newAndOld(pods []*core.Pod) (fresh, old *core.Pod, ok bool) {
	for _, p := range pods {
		switch {
		case p.DeletionTimestamp != nil || t.deleted[p.Name]:
		case hashOf(p) == t.hash && fresh == nil:
			fresh = p
		case hashOf(p) != t.hash && old == nil:
			old = p
		default:
			return nil, nil, false
		}
	}
	return fresh, old, true
}

// roll replaces pods of other revisions.
func (t *turn) roll() {
	nodes := map[string]bool{}
	for name := range t.onNode {
		nodes[name] = name != ""
	}
	for name, run := range t.run {
		nodes[name] = nodes[name] || run
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		if nodes[name] {
			names = append(names, name)
		}
	}
	if surge, unavailable := t.limits(); surge > 0 {
		t.rollWithSurge(names, surge)
	} else {
		t.rollInPlace(names, unavailable)
	}
}

// rollInPlace deletes old pods; the next pass puts new ones where they were. Old pods that are of no use go at once.
func (t *turn) rollInPlace(names []string, unavailable int) {
	down := 0
	var candidates []*core.Pod
	for _, name := range names {
		fresh, old, ok := t.newAndOld(t.onNode[name])
		switch {
		case !ok, fresh == nil && old == nil, fresh != nil && old != nil:
			down++
		case fresh != nil:
			if !t.available(fresh) {
				down++
			}
		case !t.available(old):
			down++
			t.remove(old)
		default:
			candidates = append(candidates, old)
		}
	}
	for _, p := range candidates[:max(0, min(unavailable-down, len(candidates)))] {
		t.remove(p)
	}
}

// rollWithSurge puts a new pod next to an old one; the old one goes when the new one is available (see pair).
func (t *turn) rollWithSurge(names []string, surge int) {
	extra, available := 0, 0
	var candidates []string
	var leaving []*core.Pod // available pods on nodes that should not run one any more
	for _, name := range names {
		fresh, old, ok := t.newAndOld(t.onNode[name])
		if !ok {
			extra++
			continue
		}
		if p := old; p != nil || fresh != nil {
			if p == nil {
				p = fresh
			}
			if t.available(p) {
				available++
			}
		}
		switch {
		case old == nil:
		case fresh != nil:
			extra++ // pair removes the old one in time
		case !t.run[name] && !t.available(old):
			t.remove(old)
		case !t.run[name]:
			leaving = append(leaving, old)
		case !t.available(old):
			t.create(name)
		default:
			candidates = append(candidates, name)
		}
	}
	for _, name := range candidates[:max(0, min(surge-extra, len(candidates)))] {
		t.create(name)
	}
	spare := available - int(t.status.DesiredNumberScheduled)
	for _, p := range leaving[:max(0, min(spare, len(leaving)))] {
		t.remove(p)
	}
}
