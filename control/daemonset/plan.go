package daemonset

import (
	"cmp"
	"maps"
	"slices"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"

	"proa.dev/control"
)

// state is what a plan looks at.
type state struct {
	ds        *apps.DaemonSet
	pods      []*core.Pod // controlled by ds
	nodes     []*core.Node
	revisions []*apps.ControllerRevision
	revision  func(name string) (*apps.ControllerRevision, bool) // of the namespace, whoever owns it
	// backoff says how long to wait before the next pod on a node is deleted for having failed; 0 counts the failure.
	backoff func(node string) time.Duration
}

// turn is one pass of planning.
type turn struct {
	state
	now     time.Time
	history control.Revisions
	hash    string
	onNode  map[string][]*core.Pod // the oldest first; pods that are gone but for their object are left out
	run     map[string]bool        // nodes that should run a pod
	stay    map[string]bool        // nodes where a pod may stay
	deleted map[string]bool        // by name: planned to be deleted

	changes []control.Change
	again   control.Again
	status  apps.DaemonSetStatus
}

// plan says what to do next, and the status.
func plan(s state, now time.Time) (changes []control.Change, status apps.DaemonSetStatus, again control.Again, err error) {
	t := &turn{state: s, now: now, onNode: map[string][]*core.Pod{}, run: map[string]bool{}, stay: map[string]bool{}, deleted: map[string]bool{}}
	t.status = *s.ds.Status.DeepCopy()
	t.history, err = control.Revise(s.ds, &s.ds.Spec.Template, s.revisions, s.ds.Status.CollisionCount, s.revision)
	if err != nil {
		return nil, t.status, control.Done, err
	}
	if t.history.Collides {
		t.status.CollisionCount = new(control.Or(t.status.CollisionCount, 0) + 1)
		return nil, t.status, control.Done, nil
	}
	t.hash = hashOf(t.history.Update)
	t.sort()
	t.count()
	if s.ds.DeletionTimestamp != nil {
		return nil, t.status, t.again, nil
	}
	t.changes = append(t.changes, t.history.Changes...)
	for _, n := range s.nodes {
		t.node(n)
	}
	t.strays()
	if s.ds.Spec.UpdateStrategy.Type != apps.OnDeleteDaemonSetStrategyType {
		t.roll()
	}
	t.changes = append(t.changes, t.history.Expired(s.ds.Spec.RevisionHistoryLimit, t.lives)...)
	return t.changes, t.status, t.again, nil
}

func (t *turn) sort() {
	for _, p := range t.pods {
		if p.DeletionTimestamp != nil && control.Finished(p) {
			continue
		}
		t.onNode[nodeOf(p)] = append(t.onNode[nodeOf(p)], p)
	}
	for _, pods := range t.onNode {
		slices.SortFunc(pods, func(a, b *core.Pod) int {
			return cmp.Or(cmp.Compare(placed(b), placed(a)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
	}
	template := templatePod(t.ds)
	for _, n := range t.nodes {
		t.run[n.Name], t.stay[n.Name] = fits(template, n)
	}
}

func placed(p *core.Pod) int {
	if p.Spec.NodeName != "" {
		return 1
	}
	return 0
}

func (t *turn) available(p *core.Pod) bool {
	ok, wait := control.Available(p, t.ds.Spec.MinReadySeconds, t.now)
	t.again = t.again.Sooner(wait)
	return ok
}

// count fills the status.
func (t *turn) count() {
	st := &t.status
	*st = apps.DaemonSetStatus{ObservedGeneration: t.ds.Generation, CollisionCount: st.CollisionCount, Conditions: st.Conditions}
	for _, n := range t.nodes {
		pods := t.onNode[n.Name]
		switch {
		case t.run[n.Name]:
			st.DesiredNumberScheduled++
			if len(pods) == 0 {
				continue
			}
			st.CurrentNumberScheduled++
			if control.Ready(pods[0]) {
				st.NumberReady++
				if t.available(pods[0]) {
					st.NumberAvailable++
				}
			}
			if hashOf(pods[0]) == t.hash {
				st.UpdatedNumberScheduled++
			}
		case len(pods) > 0:
			st.NumberMisscheduled++
		}
	}
	st.NumberUnavailable = st.DesiredNumberScheduled - st.NumberAvailable
}

// node plans the pods of one node, but for updates.
func (t *turn) node(n *core.Node) {
	pods := t.onNode[n.Name]
	switch {
	case t.run[n.Name] && len(pods) == 0:
		t.create(n.Name)
	case t.stay[n.Name] && len(pods) > 0:
		t.tidy(n.Name, pods)
	case !t.stay[n.Name]:
		for _, p := range pods {
			t.remove(p)
		}
	}
}

// tidy deletes finished pods, so that others take their place, and those that are too many.
func (t *turn) tidy(node string, pods []*core.Pod) {
	var running []*core.Pod
	for _, p := range pods {
		switch {
		case p.DeletionTimestamp != nil:
		case p.Status.Phase == core.PodFailed:
			if wait := t.backoff(node); wait > 0 {
				t.again = t.again.Sooner(control.Again(wait))
				continue
			}
			t.removeBecause(p, core.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod "+p.Namespace+"/"+p.Name+" on node "+node+", will try to kill it")
		case p.Status.Phase == core.PodSucceeded:
			t.removeBecause(p, core.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod "+p.Namespace+"/"+p.Name+" on node "+node+", will try to delete it")
		default:
			running = append(running, p)
		}
	}
	if t.surge() == 0 {
		for _, p := range running[min(1, len(running)):] {
			t.remove(p)
		}
		return
	}
	if len(running) == 0 && t.run[node] {
		t.create(node) // the one that is going away need not be waited for
	}
	t.pair(running)
}

// pair keeps at most one pod of the current revision and one of others; the old one goes when it is of no use, or the new one is.
func (t *turn) pair(running []*core.Pod) {
	var fresh, old *core.Pod
	for _, p := range running {
		switch {
		case hashOf(p) == t.hash && fresh == nil:
			fresh = p
		case hashOf(p) != t.hash && old == nil:
			old = p
		default:
			t.remove(p)
		}
	}
	if fresh != nil && old != nil && (!control.Ready(old) || t.available(fresh)) {
		t.remove(old)
	}
}

// strays deletes pods that were meant for a node that does not exist and never got there: nobody else would.
func (t *turn) strays() {
	exists := map[string]bool{}
	for _, n := range t.nodes {
		exists[n.Name] = true
	}
	for _, node := range slices.Sorted(maps.Keys(t.onNode)) {
		for _, p := range t.onNode[node] {
			if !exists[node] && p.Spec.NodeName == "" {
				t.remove(p)
			}
		}
	}
}

func (t *turn) create(node string) {
	t.changes = append(t.changes, control.CreatePod(newPod(t.ds, node, t.hash), t.ds))
}

func (t *turn) remove(p *core.Pod) {
	if p.DeletionTimestamp == nil && !t.deleted[p.Name] {
		t.deleted[p.Name] = true
		t.changes = append(t.changes, control.DeletePod(p, t.ds))
	}
}

func (t *turn) removeBecause(p *core.Pod, typ, reason, message string) {
	t.deleted[p.Name] = true
	ch := control.DeletePod(p, t.ds)
	ch.Said = control.Note{On: t.ds, Type: typ, Reason: reason, Format: message}
	t.changes = append(t.changes, ch)
}

// lives says whether a revision is still in use.
func (t *turn) lives(name string) bool {
	for _, r := range t.history.All {
		if r.Name != name {
			continue
		}
		for _, p := range t.pods {
			if hashOf(p) == hashOf(r) {
				return true
			}
		}
	}
	return false
}
