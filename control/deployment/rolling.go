package deployment

import (
	"cmp"
	"math"
	"slices"

	apps "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// fenceposts is maxSurge, rounded up, and maxUnavailable, rounded down, as numbers of pods. They are never both 0: then nothing could
// move.
func fenceposts(d *apps.Deployment, replicas int32) (surge, unavailable int32) {
	ru := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type == apps.RecreateDeploymentStrategyType || ru == nil {
		return 0, 0
	}
	scaled := func(v *intstr.IntOrString, up bool) int32 {
		if v == nil {
			return 0
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(v, int(replicas), up)
		if err != nil {
			return 0 // validation refuses what does not parse
		}
		return int32(n)
	}
	surge, unavailable = scaled(ru.MaxSurge, true), scaled(ru.MaxUnavailable, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func maxSurge(d *apps.Deployment) int32 {
	surge, _ := fenceposts(d, replicasOf(d))
	return surge
}

func maxUnavailable(d *apps.Deployment) int32 {
	n := replicasOf(d)
	if n == 0 {
		return 0
	}
	_, unavailable := fenceposts(d, n)
	return min(unavailable, n)
}

func replicasOf(d *apps.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// newSize is how large the newest set may be now.
func (r *rollout) newSize() int32 {
	if r.d.Spec.Strategy.Type == apps.RecreateDeploymentStrategyType {
		return r.replicas
	}
	have := r.size[r.newest.UID]
	room := r.replicas + maxSurge(r.d) - r.totalSize(r.all())
	if room <= 0 {
		return have
	}
	return have + min(room, r.replicas-have)
}

// grow scales the newest set up as far as maxSurge allows, or down to what is wanted.
func (r *rollout) grow() {
	switch have := r.size[r.newest.UID]; {
	case have > r.replicas:
		r.resize(r.newest, r.replicas)
	case have < r.replicas:
		if n := r.newSize(); n != have {
			r.resize(r.newest, n)
		}
	}
}

// shrink scales the old sets down as far as maxUnavailable allows: first what is unavailable anyway, so that a bad template cannot block
// the next one, then the oldest. Unavailable pods of the newest set count as missing, so that a bad template takes no further healthy
// pods away.
func (r *rollout) shrink() {
	old := r.active(r.old)
	if len(old) == 0 {
		return
	}
	minAvailable := r.replicas - maxUnavailable(r.d)
	missing := r.size[r.newest.UID] - r.newest.Status.AvailableReplicas
	budget := r.totalSize(r.all()) - minAvailable - missing
	if budget <= 0 {
		return
	}
	for _, rs := range old {
		if bad := r.size[rs.UID] - rs.Status.AvailableReplicas; bad > 0 && budget > 0 {
			n := min(bad, budget)
			r.resize(rs, r.size[rs.UID]-n)
			budget -= n
		}
	}
	available := int32(0)
	for _, rs := range r.all() {
		available += rs.Status.AvailableReplicas
	}
	spare := available - minAvailable
	for _, rs := range old {
		if n := min(r.size[rs.UID], spare); n > 0 {
			r.resize(rs, r.size[rs.UID]-n)
			spare -= n
		}
	}
}

// recreate takes all old pods down before it makes the first new one.
func (r *rollout) recreate() {
	down := false
	for _, rs := range r.active(r.old) {
		r.resize(rs, 0)
		down = true
	}
	if down || r.oldRuns() || r.newest == nil {
		return
	}
	if r.size[r.newest.UID] != r.replicas {
		r.resize(r.newest, r.replicas)
	}
}

// scaled says whether spec.replicas was changed since the sets were last sized.
func (r *rollout) scaled() bool {
	sets := r.active(r.all())
	if len(sets) > 1 && r.d.Spec.Strategy.Type == apps.RecreateDeploymentStrategyType {
		return false // recreate takes all but one down in any case
	}
	for _, rs := range sets {
		if n, ok := replicasAnnotation(rs, DesiredAnnotation); ok && n != r.replicas {
			return true
		}
	}
	return false
}

// scale carries a change of spec.replicas to the sets. In the middle of a rollout every set gets its share, so that scaling does not
// hasten a rollout that may be bad.
func (r *rollout) scale() {
	all := r.active(r.all())
	if len(all) <= 1 {
		if rs := r.activeOrLatest(all); rs != nil {
			r.resize(rs, r.replicas)
		}
		return
	}
	if r.newest != nil && r.saturated() {
		for _, rs := range r.active(r.old) {
			r.resize(rs, 0)
		}
		r.resize(r.newest, r.replicas)
		return
	}
	r.proportional(all)
}

func (r *rollout) activeOrLatest(active []*apps.ReplicaSet) *apps.ReplicaSet {
	switch {
	case len(active) == 1:
		return active[0]
	case r.newest != nil:
		return r.newest
	case len(r.old) > 0:
		return r.old[len(r.old)-1]
	}
	return nil
}

func (r *rollout) saturated() bool {
	desired, ok := replicasAnnotation(r.newest, DesiredAnnotation)
	return ok && r.size[r.newest.UID] == r.replicas && desired == r.replicas && r.newest.Status.AvailableReplicas == r.replicas
}

func (r *rollout) proportional(sets []*apps.ReplicaSet) {
	allowed := int32(0)
	if r.replicas > 0 {
		allowed = r.replicas + maxSurge(r.d)
	}
	add := allowed - r.totalSize(sets)
	slices.SortStableFunc(sets, func(a, b *apps.ReplicaSet) int {
		age := byAge(a, b)
		if add > 0 {
			age = -age // of equal size, the newer grow first and the older shrink first
		}
		return cmp.Or(cmp.Compare(r.size[b.UID], r.size[a.UID]), age)
	})
	want, added := make([]int32, len(sets)), int32(0)
	for i, rs := range sets {
		share := int32(0)
		switch {
		case add > 0:
			share = min(r.share(rs), add-added)
		case add < 0:
			share = max(r.share(rs), add-added)
		}
		want[i] = r.size[rs.UID] + share
		added += share
	}
	want[0] = max(0, want[0]+add-added) // what rounding left over goes to the largest
	for i, rs := range sets {
		r.resize(rs, want[i])
	}
}

// share is by how much rs grows when it keeps its part of the whole.
func (r *rollout) share(rs *apps.ReplicaSet) int32 {
	size := r.size[rs.UID]
	if r.replicas == 0 {
		return -size
	}
	before, ok := replicasAnnotation(rs, MaxAnnotation)
	if !ok || before == 0 {
		if before = r.d.Status.Replicas; before == 0 {
			return 0
		}
	}
	whole := float64(r.replicas + maxSurge(r.d))
	return int32(math.Round(float64(size)*whole/float64(before))) - size
}
