package deployment

import (
	"strconv"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of ReplicaSets, and the first one of Deployments too.
const (
	RevisionAnnotation = "deployment.kubernetes.io/revision"         // a 64-bit number
	HistoryAnnotation  = "deployment.kubernetes.io/revision-history" // earlier revisions of the same template: "1,4"
	DesiredAnnotation  = "deployment.kubernetes.io/desired-replicas" // spec.replicas of the Deployment when it sized the set
	MaxAnnotation      = "deployment.kubernetes.io/max-replicas"     // the same with maxSurge
)

// maxHistory bounds HistoryAnnotation, in bytes.
const maxHistory = 2000

// ours are the annotations that are not copied from a Deployment to its ReplicaSets.
func ours(key string) bool {
	switch key {
	case core.LastAppliedConfigAnnotation, RevisionAnnotation, HistoryAnnotation, DesiredAnnotation, MaxAnnotation, apps.DeprecatedRollbackTo:
		return true
	}
	return false
}

// revision is 0 where there is none or it is no number.
func revision(o metav1.Object) int64 {
	n, err := strconv.ParseInt(o.GetAnnotations()[RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func maxRevision(sets []*apps.ReplicaSet) (n int64) {
	for _, rs := range sets {
		n = max(n, revision(rs))
	}
	return n
}

// annotate copies the Deployment's annotations to rs, which may be changed, and says whether that changed any.
func annotate(d *apps.Deployment, rs *apps.ReplicaSet) (changed bool) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		if have, ok := rs.Annotations[k]; !ours(k) && (!ok || have != v) {
			rs.Annotations[k] = v
			changed = true
		}
	}
	return changed
}

// syncNewest brings what the newest set shows of its Deployment up to date. A set that was already there and gets a higher revision is
// being rolled back to: its earlier revision goes into its history.
func (r *rollout) syncNewest() {
	rs := r.newest
	n := rs.DeepCopy()
	changed := annotate(r.d, n)
	next := maxRevision(r.old) + 1
	was, known := rs.Annotations[RevisionAnnotation]
	if _, err := strconv.ParseInt(was, 10, 64); err != nil && was != "" {
		next = 0 // not ours to understand: leave it
	}
	if revision(rs) < next {
		n.Annotations[RevisionAnnotation] = strconv.FormatInt(next, 10)
		changed = true
		if known {
			n.Annotations[HistoryAnnotation] = appendHistory(rs.Annotations[HistoryAnnotation], was)
		}
	}
	if n.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
		n.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
		changed = true
	}
	if changed {
		e := r.edit(rs)
		e.Annotations, e.Spec.MinReadySeconds = n.Annotations, n.Spec.MinReadySeconds
	}
	r.out.revision = n.Annotations[RevisionAnnotation]
}

func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	all := strings.Split(history+","+revision, ",")
	for len(all) > 1 && len(strings.Join(all, ",")) > maxHistory {
		all = all[1:]
	}
	return strings.Join(all, ",")
}

func replicasAnnotation(rs *apps.ReplicaSet, key string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[key], 10, 32)
	return int32(n), err == nil && n >= 0
}

func replicasAnnotationsDiffer(rs *apps.ReplicaSet, desired, limit int32) bool {
	d, ok := replicasAnnotation(rs, DesiredAnnotation)
	m, ok2 := replicasAnnotation(rs, MaxAnnotation)
	return !ok || !ok2 || d != desired || m != limit
}

func setReplicasAnnotations(rs *apps.ReplicaSet, desired, limit int32) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	rs.Annotations[DesiredAnnotation] = strconv.Itoa(int(desired))
	rs.Annotations[MaxAnnotation] = strconv.Itoa(int(limit))
}
