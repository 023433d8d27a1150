package deployment

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/control"
	"proa.dev/object"
)

// state is what a plan looks at.
type state struct {
	d    *apps.Deployment
	sets []*apps.ReplicaSet // controlled by d
	// busy says which ReplicaSets still have pods that have not finished, for Recreate.
	busy map[types.UID]bool
	// named finds a ReplicaSet of the namespace, whoever controls it.
	named func(name string) (*apps.ReplicaSet, bool)
}

// result is what a plan asks for: first the changes, then the status.
type result struct {
	changes []control.Change
	creates string // name of the ReplicaSet that changes creates
	status  apps.DeploymentStatus
	// revision is what the Deployment's annotation is to say; "" is: leave it.
	revision string
	urgent   bool // the status is news, not only a step on the way
	again    control.Again
}

// rollout is one pass of planning. The ReplicaSets are frozen; what is to become of them is in next and size.
type rollout struct {
	state
	replicas int32
	now      time.Time
	newest   *apps.ReplicaSet   // nil: there is none yet
	old      []*apps.ReplicaSet // the others, oldest first
	size     map[types.UID]int32
	next     map[types.UID]*apps.ReplicaSet // changed clones
	order    []types.UID                    // of next
	notes    map[types.UID]control.Note
	out      result
}

func plan(s state, now time.Time) result {
	r := begin(s, now)
	paused := s.d.Spec.Paused
	if s.d.DeletionTimestamp != nil {
		r.syncStatus(false)
		return r.out
	}
	r.notePause()
	scaling := paused || r.scaled()
	if r.newest == nil && !scaling {
		if s.d.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType || !r.oldRuns() && r.totalSize(r.old) == 0 {
			if collides := r.create(); collides {
				return r.out
			}
		}
	} else if r.newest != nil {
		r.syncNewest()
	}
	switch {
	case scaling:
		r.scale()
	case s.d.Spec.Strategy.Type == apps.RecreateDeploymentStrategyType:
		r.recreate()
	default:
		r.grow()
		r.shrink()
	}
	r.syncStatus(!scaling)
	if complete(s.d, &r.out.status) || paused {
		r.cleanUp()
	}
	r.flush()
	return r.out
}

// begin sorts the sets into the newest and the old.
func begin(s state, now time.Time) *rollout {
	r := &rollout{
		state: s, replicas: control.Or(s.d.Spec.Replicas, 1), now: now,
		size: map[types.UID]int32{}, next: map[types.UID]*apps.ReplicaSet{}, notes: map[types.UID]control.Note{},
	}
	r.out.status = *s.d.Status.DeepCopy()
	sets := slices.Clone(s.sets)
	slices.SortStableFunc(sets, byAge)
	for _, rs := range sets {
		r.size[rs.UID] = control.Or(rs.Spec.Replicas, 1)
		if r.newest == nil && sameTemplate(&rs.Spec.Template, &s.d.Spec.Template) {
			r.newest = rs // of several, the oldest, so that a duplicate does not take over
			continue
		}
		r.old = append(r.old, rs)
	}
	return r
}

// byAge orders the oldest first.
func byAge(a, b *apps.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// sameTemplate compares templates without the label that the controller adds.
func sameTemplate(a, b *core.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, apps.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, apps.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

func (r *rollout) all() []*apps.ReplicaSet {
	if r.newest == nil {
		return r.old
	}
	return append(slices.Clone(r.old), r.newest)
}

func (r *rollout) totalSize(sets []*apps.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += r.size[rs.UID]
	}
	return n
}

// active is those of the sets that are to have pods.
func (r *rollout) active(sets []*apps.ReplicaSet) []*apps.ReplicaSet {
	var out []*apps.ReplicaSet
	for _, rs := range sets {
		if r.size[rs.UID] > 0 {
			out = append(out, rs)
		}
	}
	return out
}

func (r *rollout) oldRuns() bool {
	for _, rs := range r.old {
		if rs.Status.Replicas > 0 {
			return true
		}
	}
	for uid, busy := range r.busy {
		if busy && (r.newest == nil || uid != r.newest.UID) {
			return true
		}
	}
	return false
}

// create plans the ReplicaSet of the current template. It says whether another object already has its name: then the status counts the
// collision, and the next pass takes another name.
func (r *rollout) create() (collides bool) {
	d := r.d
	hash := control.Hash(&d.Spec.Template, d.Status.CollisionCount)
	name := setName(d.Name, hash)
	if _, taken := r.named(name); taken {
		r.out.status.CollisionCount = new(control.Or(d.Status.CollisionCount, 0) + 1)
		r.out.urgent = true
		return true
	}
	template := d.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	rs := &apps.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: d.Namespace, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{control.RefOf(d)},
		},
		Spec: apps.ReplicaSetSpec{MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *template},
	}
	revision := fmt.Sprint(maxRevision(r.old) + 1)
	annotate(d, rs)
	rs.Annotations[RevisionAnnotation] = revision
	r.newest = rs // it has no uid: size and the rest know it as ""
	r.size[""] = r.newSize()
	rs.Spec.Replicas = new(r.size[""])
	setReplicasAnnotations(rs, r.replicas, r.replicas+maxSurge(d))
	ch := control.Change{Op: control.Create, Object: rs}
	if r.size[""] > 0 {
		ch.Said = r.note("Scaled up replica set %s from 0 to %d", name, r.size[""])
	}
	r.out.changes = append(r.out.changes, ch)
	r.out.creates = name
	r.out.revision = revision
	r.progress(core.ConditionTrue, "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", name))
	r.out.urgent = condition(d.Status, apps.DeploymentProgressing) != nil
	return false
}

func (r *rollout) note(format string, args ...any) control.Note {
	return control.Note{On: r.d, Reason: "ScalingReplicaSet", Format: fmt.Sprintf(format, args...)}
}

func withHash(labels map[string]string, hash string) map[string]string {
	out := map[string]string{apps.DefaultDeploymentUniqueLabelKey: hash}
	for k, v := range labels {
		if k != apps.DefaultDeploymentUniqueLabelKey {
			out[k] = v
		}
	}
	return out
}

// setName keeps the name within the limit of names that pods' names grow from.
func setName(deployment, hash string) string {
	const longest = 253
	if room := longest - len(hash) - 1; len(deployment) > room {
		deployment = deployment[:room]
	}
	return deployment + "-" + hash
}

// edit is the clone of rs that the plan changes.
func (r *rollout) edit(rs *apps.ReplicaSet) *apps.ReplicaSet {
	if rs.UID == "" {
		return rs // being created
	}
	n, ok := r.next[rs.UID]
	if !ok {
		n = object.Clone(rs)
		r.next[rs.UID] = n
		r.order = append(r.order, rs.UID)
	}
	return n
}

// resize plans the size of rs.
func (r *rollout) resize(rs *apps.ReplicaSet, size int32) {
	was := r.size[rs.UID]
	desired, limit := r.replicas, r.replicas+maxSurge(r.d)
	if was == size && !replicasAnnotationsDiffer(rs, desired, limit) {
		return
	}
	n := r.edit(rs)
	n.Spec.Replicas = new(size)
	setReplicasAnnotations(n, desired, limit)
	r.size[rs.UID] = size
	if from := control.Or(rs.Spec.Replicas, 1); from != size && rs.UID != "" {
		way := "up"
		if size < from {
			way = "down"
		}
		r.notes[rs.UID] = r.note("Scaled %s replica set %s from %d to %d", way, rs.Name, from, size)
	}
}

// flush turns the edited ReplicaSets into changes.
func (r *rollout) flush() {
	for _, uid := range r.order {
		r.out.changes = append(r.out.changes, control.Change{Op: control.Update, Object: r.next[uid], Said: r.notes[uid]})
	}
}

// cleanUp deletes the old ReplicaSets without pods beyond spec.revisionHistoryLimit.
func (r *rollout) cleanUp() {
	if r.d.Spec.RevisionHistoryLimit == nil {
		return
	}
	var old []*apps.ReplicaSet
	for _, rs := range r.old {
		if rs.DeletionTimestamp == nil {
			old = append(old, rs)
		}
	}
	surplus := len(old) - int(*r.d.Spec.RevisionHistoryLimit)
	if surplus <= 0 {
		return
	}
	slices.SortStableFunc(old, func(a, b *apps.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) })
	for _, rs := range old[:surplus] {
		if rs.Status.Replicas == 0 && r.size[rs.UID] == 0 && control.Or(rs.Spec.Replicas, 1) == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			r.out.changes = append(r.out.changes, control.Change{Op: control.Delete, Object: rs})
		}
	}
}
