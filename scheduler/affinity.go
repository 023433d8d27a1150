package scheduler

// Reasons of affinity between pods.
const (
	noAffinity = "node(s) didn't match pod affinity rules"
	noApart    = "node(s) didn't match pod anti-affinity rules"
	noNearThem = "node(s) didn't satisfy existing pods anti-affinity rules"
)

// affinityCounters makes the counters of a pod's rules about other pods, and of the rules of others about it.
func affinityCounters(c *cluster, k *class, add func(*counter)) {
	for _, t := range c.terms {
		switch {
		case !t.matches(k.set):
		case t.soft:
			add(&counter{kind: likedBy, key: t.key, on: func(n *node) int32 { return int32(n.wishes[t]) }})
		default:
			add(&counter{kind: keptAway, key: t.key, on: func(n *node) int32 { return int32(n.anti[t]) }})
		}
	}
	a := k.pod.Spec.Affinity
	if a == nil {
		return
	}
	if p := a.PodAffinity; p != nil {
		for i := range p.RequiredDuringSchedulingIgnoredDuringExecution {
			t := newTerm(c.view, k.pod, &p.RequiredDuringSchedulingIgnoredDuringExecution[i])
			x := &counter{kind: together, key: t.key, on: t.on}
			if t.matches(k.set) {
				x.self = 1
			}
			add(x)
		}
		for i := range p.PreferredDuringSchedulingIgnoredDuringExecution {
			w := &p.PreferredDuringSchedulingIgnoredDuringExecution[i]
			t := newTerm(c.view, k.pod, &w.PodAffinityTerm)
			add(&counter{kind: prefer, key: t.key, on: t.on, weight: w.Weight})
		}
	}
	if p := a.PodAntiAffinity; p != nil {
		for i := range p.RequiredDuringSchedulingIgnoredDuringExecution {
			t := newTerm(c.view, k.pod, &p.RequiredDuringSchedulingIgnoredDuringExecution[i])
			add(&counter{kind: apart, key: t.key, on: t.on})
		}
		for i := range p.PreferredDuringSchedulingIgnoredDuringExecution {
			w := &p.PreferredDuringSchedulingIgnoredDuringExecution[i]
			t := newTerm(c.view, k.pod, &w.PodAffinityTerm)
			add(&counter{kind: prefer, key: t.key, on: t.on, weight: -w.Weight})
		}
	}
}

// judgeNeighbours applies the rules between pods that one node decides: those within a host.
func (k *class) judgeNeighbours(n *node) *verdict {
	for _, t := range k.counters {
		if !t.host {
			continue
		}
		if v := t.keepsApart(k, n); v != nil {
			return v
		}
	}
	return nil
}

// keepsApart is anti-affinity, of the pod or against it.
func (t *counter) keepsApart(k *class, n *node) *verdict {
	if t.kind != apart && t.kind != keptAway {
		return nil
	}
	if pods, _ := t.pods(n); pods == 0 {
		return nil
	}
	if t.kind == keptAway {
		return k.no(noNearThem, byAffinity, true)
	}
	return k.no(noApart, byAffinity, true)
}

// judgeGroup applies what looks at more than one node to n, and with it to all nodes of its group, which are alike in it; and says
// how good the group is.
func (k *class) judgeGroup(n *node) (*verdict, int32) {
	for _, t := range k.counters {
		if t.kind == spreadHard {
			if v := t.spreads(k, n); v != nil {
				return v, 0
			}
		}
	}
	if !k.near(n) {
		return k.no(noAffinity, byAffinity|byNode, false), 0
	}
	for _, t := range k.counters {
		if t.host {
			continue
		}
		if v := t.keepsApart(k, n); v != nil {
			return v, 0
		}
	}
	return nil, k.rateGroup(n)
}

// near says whether required affinity is met: pods that match every term in the domains of n; or none anywhere, and the pod is the
// first of a family that wants to be together.
func (k *class) near(n *node) bool {
	met, first, any := true, true, false
	for _, t := range k.counters {
		if t.kind != together {
			continue
		}
		any = true
		pods, ok := t.pods(n)
		if !ok {
			return false
		}
		met = met && pods > 0
		first = first && t.self > 0 && t.total == 0
	}
	return !any || met || first
}
