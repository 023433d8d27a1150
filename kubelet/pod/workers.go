package pod

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/client"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/probe"
	"proa.dev/kubelet/pull"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
	"proa.dev/kubelet/userns"
	"proa.dev/kubelet/volume"
	"proa.dev/object"
)

// Recorder writes events.
type Recorder interface {
	Event(o object.Object, eventtype, reason, format string, args ...any)
	Field(o object.Object, fieldPath, eventtype, reason, format string, args ...any)
}

// Pulls is how images come to the node, Credentials what is asked for those of registries.
type (
	Pulls       = pull.Config
	Credentials = pull.Credentials
)

// Deps are what the workers share.
type Deps struct {
	Node        *spec.Node
	View        client.View
	Runtime     cri.Runtime
	Images      cri.Images
	RuntimeName string // the scheme of container ids: "proa", "containerd"
	Sources     volume.Sources
	Volumes     *volume.Volumes
	Probes      *probe.Prober
	Status      *status.Writer
	Events      Recorder
	LogLinks    string // "/var/log/containers"; "" is none
	Rules       Rules
	MaxBackOff  time.Duration // between restarts of a container; default 5m
	Pulls       Pulls
	Credentials Credentials // nil: only what pods bring
	// Allocatable is what the node has for pods now.
	Allocatable func() core.ResourceList
	// Refuse says why the node takes no such pod now; nil: it does.
	Refuse    func(*core.Pod) *status.Reason
	Index     *Index    // whose containers are whose; New makes one
	Resources Resources // nil: the node gives nothing to single pods

	// Changed is called whenever pods came, went, or were allocated other resources. It does not block.
	Changed func()

	// Set by New: fit allocates the resources of a pod that is resized, freed tells that there is more to be had.
	fit    func(*worker, *core.Pod) *status.Reason
	freed  func(trigger string)
	users  *userns.Users // of pods that have their own
	puller *pull.Puller

	counts *counts

	Log *slog.Logger
}

// Index knows the pod of each container and sandbox by id. It is safe for concurrent use.
type Index struct{ m sync.Map }

func (x *Index) add(id string, uid types.UID) { x.m.Store(id, uid) }
func (x *Index) drop(id string)               { x.m.Delete(id) }

// Of is the pod that a container or sandbox belongs to.
func (x *Index) Of(id string) (types.UID, bool) {
	uid, ok := x.m.Load(id)
	if !ok {
		return "", false
	}
	return uid.(types.UID), true
}

// Workers is the set of pods on this node.
type Workers struct {
	*Deps

	mu    sync.Mutex // guards all below
	ctx   context.Context
	live  map[types.UID]*worker
	last  map[types.UID]*core.Pod // as the API last had them
	wg    sync.WaitGroup
	left  map[types.UID]*leftover // of earlier processes, not claimed by a pod yet
	again map[types.UID]*core.Pod // that came while a pod of the same UID was ending

	complete chan struct{} // closed by the first Synced
}

// leftover is what the runtime had of a pod before this process started.
type leftover struct {
	namespace, name string
	ours            bool // made by a kubelet of this node
	sandboxes       []observe.Sandbox
	containers      map[string]string // id -> sandbox
}

// New starts nothing.
func New(d Deps) (*Workers, error) {
	d.Index = &Index{}
	d.users = userns.New(filepath.Join(d.Node.Root, "pods"))
	d.Node.Users = d.users.Of
	d.MaxBackOff = cmp.Or(d.MaxBackOff, backOffMax)
	var err error
	d.puller, err = pull.New(pull.Deps{
		Config: d.Pulls, Root: d.Node.Root, Images: d.Images, Secrets: d.Sources, Credentials: d.Credentials, Starts: d.Status, Events: d.Events,
		Log: d.Log,
	})
	if err != nil {
		return nil, err
	}
	d.counts = &counts{}
	d.counts.restarted.Add([1]string{""}, 0)
	d.counts.restarted.Add([1]string{"true"}, 0)
	ws := &Workers{
		Deps: &d, live: map[types.UID]*worker{}, last: map[types.UID]*core.Pod{}, again: map[types.UID]*core.Pod{}, complete: make(chan struct{}),
	}
	d.fit, d.freed = ws.fit, func(trigger string) {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		ws.freed(trigger)
	}
	return ws, nil
}

// Puller is what makes images present.
func (ws *Workers) Puller() *pull.Puller { return ws.puller }

// Adopt reads what the runtime has, so that pods find their containers again. It has to be called before the first Set.
func (ws *Workers) Adopt(ctx context.Context) error {
	ws.puller.Recover(ctx)
	left := map[types.UID]*leftover{}
	get := func(labels map[string]string) *leftover {
		uid, ns, name, ok := observe.Identity(labels)
		if !ok {
			return nil
		}
		if left[uid] == nil {
			left[uid] = &leftover{namespace: ns, name: name, containers: map[string]string{}}
		}
		return left[uid]
	}
	boxes, err := ws.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list the sandboxes: %w", err)
	}
	for _, b := range boxes.GetItems() {
		l := get(b.GetLabels())
		if l == nil {
			continue
		}
		r, err := ws.Runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: b.GetId()})
		if cri.NotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read sandbox %s: %w", b.GetId(), err)
		}
		l.ours = l.ours || b.GetLabels()[observe.Node] == ws.Node.Name
		l.sandboxes = append(l.sandboxes, observe.OfSandbox(r.GetStatus()))
	}
	list, err := ws.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("list the containers: %w", err)
	}
	for _, c := range list.GetContainers() {
		if l := get(c.GetLabels()); l != nil {
			l.containers[c.GetId()] = c.GetPodSandboxId()
		}
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.ctx, ws.left = ctx, left
	return nil
}

// Set tells of a pod of this node, or of its change.
func (ws *Workers) Set(pod *core.Pod) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.set(pod)
}

// set is Set. ws.mu is held.
func (ws *Workers) set(pod *core.Pod) {
	switch w := ws.live[pod.UID]; {
	case w != nil && w.gone:
		ws.again[pod.UID] = pod
		return
	case w != nil:
		ws.last[pod.UID] = pod
		w.post(func() { w.update(pod) })
		return
	}
	ws.last[pod.UID] = pod
	w := newWorker(ws.Deps, pod)
	ws.claim(w)
	if phaseIsFinal(pod.Status.Phase) && pod.DeletionTimestamp == nil && len(w.unread) == 0 && len(w.s.Runtime.Sandboxes) == 0 {
		w.s.Cleaned = Stopped // it ended before we came
	} else if len(w.s.Runtime.Sandboxes) == 0 && !phaseIsFinal(pod.Status.Phase) && pod.DeletionTimestamp == nil {
		no := ws.Refuse(pod)
		if no == nil {
			no = ws.Rules.admit(pod, ws.others(pod.UID), ws.node())
			if no != nil && ws.preempt(pod, no) {
				no = nil
			}
		}
		if no != nil {
			w.refuse(no)
		} else {
			w.s.Asks = ws.Resources != nil && ws.Resources.Wants(pod)
		}
	}
	if !w.ends.Load() && !phaseIsFinal(pod.Status.Phase) && pod.DeletionTimestamp == nil {
		ws.counts.admit(pod)
		ws.counts.take(pod)
	}
	ws.launch(w)
}

// node is this node's object with what it can give now.
func (ws *Workers) node() *core.Node {
	n, ok := client.Lookup[core.Node](ws.View, object.Key{Name: ws.Node.Name})
	if !ok {
		n = &core.Node{ObjectMeta: metav1.ObjectMeta{Name: ws.Node.Name}}
	}
	n = object.Clone(n)
	if n.Status.Allocatable == nil {
		n.Status.Allocatable = core.ResourceList{}
	}
	maps.Copy(n.Status.Allocatable, ws.Allocatable()) // others advertise resources of their own
	if ws.Resources != nil {
		maps.DeleteFunc(n.Status.Allocatable, func(name core.ResourceName, _ resource.Quantity) bool { return ws.Resources.Handles(name) })
	}
	return n
}

// others are the pods that use the node now. ws.mu is held.
func (ws *Workers) others(but types.UID) []*core.Pod {
	var out []*core.Pod
	for uid, w := range ws.live {
		if p := ws.last[uid]; p != nil && uid != but && !w.void.Load() && !phaseIsFinal(p.Status.Phase) {
			out = append(out, w.held.Load())
		}
	}
	return out
}

// claim gives a new worker what the runtime has of its pod. ws.mu is held.
func (ws *Workers) claim(w *worker) {
	l := ws.left[w.uid]
	if l == nil {
		return
	}
	delete(ws.left, w.uid)
	for _, s := range l.sandboxes {
		w.s.Runtime.SetSandbox(s)
		ws.Index.add(s.ID, w.uid)
	}
	for id, box := range l.containers {
		w.s.Runtime.SetContainer(observe.Container{ID: id, Sandbox: box, State: observe.Unknown})
		w.unread[id] = true
		ws.Index.add(id, w.uid)
	}
}

func (ws *Workers) launch(w *worker) {
	ws.live[w.uid] = w
	ctx := ws.ctx
	ws.wg.Go(func() {
		w.run(ctx)
		if ctx.Err() != nil {
			return
		}
		ws.mu.Lock()
		defer ws.mu.Unlock()
		delete(ws.live, w.uid)
		delete(ws.last, w.uid)
		ws.freed("pods_removed")
		ws.Changed()
		if again := ws.again[w.uid]; again != nil {
			delete(ws.again, w.uid)
			ws.counts.restarted.Add([1]string{static(again)}, 1)
			ws.set(again)
		}
	})
	ws.Changed()
}

// Gone tells that the API has no such pod any more. A pod that still runs then was deleted by force, which its last state does not
// say: its containers get no more than the least grace.
func (ws *Workers) Gone(pod *core.Pod) {
	pod = object.Clone(pod)
	var zero int64
	now := metav1.Now()
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &zero
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.again, pod.UID)
	if w := ws.live[pod.UID]; w != nil {
		w.gone = true
		w.post(func() { w.s.Pod, w.s.Gone = pod, true })
	}
}

// Synced tells that every pod of the API has been Set once: what the runtime has of this node beside them is removed.
func (ws *Workers) Synced() error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	select {
	case <-ws.complete:
	default:
		defer close(ws.complete)
	}
	for uid, l := range ws.left {
		if !l.ours {
			ws.Log.Info("leaving a pod alone that the API does not know and that is not of this node", "ns", l.namespace, "name", l.name, "uid", uid)
			continue
		}
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, Namespace: l.namespace, Name: l.name}}
		ws.Log.Info("removing a pod that the API does not know", "ns", l.namespace, "name", l.name, "uid", uid)
		w := newWorker(ws.Deps, pod)
		w.s.Gone = true
		ws.counts.orphaned.Add(1)
		ws.claim(w)
		ws.launch(w)
	}
	if ws.Resources != nil {
		ws.Resources.Keep(func(uid types.UID) bool { return ws.live[uid] != nil })
	}
	unused, err := ws.Volumes.Unused(func(uid types.UID) bool { return ws.live[uid] != nil })
	if err != nil {
		return err
	}
	ws.counts.cleaned.Store(int64(len(unused)))
	for _, uid := range unused {
		if err := ws.Volumes.Teardown(ws.ctx, uid, true); err != nil { // a driver that is not there yet, as a rule: a worker tries again
			ws.Log.Warn("volumes of a former pod not removed", "uid", uid, "err", err)
			ws.counts.uncleaned.Add(1)
			w := newWorker(ws.Deps, &core.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}})
			w.s.Gone = true
			ws.launch(w)
		}
	}
	return nil
}

// Touch wakes a pod: something that it uses changed.
func (ws *Workers) Touch(uid types.UID) {
	if w := ws.worker(uid); w != nil {
		w.post(func() {
			w.retry()
			w.retell = true
		})
	}
}

// Drivers wakes the pods that may wait for a CSI driver: one came.
func (ws *Workers) Drivers() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for uid, w := range ws.live {
		if p := ws.last[uid]; p == nil || ws.Volumes.Driven(p) {
			w.post(w.retry)
		}
	}
}

// Probed wakes a pod: a probe's result changed.
func (ws *Workers) Probed(uid types.UID) {
	if w := ws.worker(uid); w != nil {
		w.post(func() {})
	}
}

// Event takes an event of the runtime.
func (ws *Workers) Event(e *runtimeapi.ContainerEventResponse) {
	id := e.GetContainerId()
	uid, ok := ws.Index.Of(id)
	if !ok { // of a step that has not ended yet, or not ours: the step reads the state itself
		return
	}
	if w := ws.worker(uid); w != nil {
		w.post(func() { w.unread[id] = true })
	}
}

func (ws *Workers) worker(uid types.UID) *worker {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.live[uid]
}

// Pods are the pods of this node as the API last had them.
func (ws *Workers) Pods() []*core.Pod {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	out := make([]*core.Pod, 0, len(ws.last))
	for _, p := range ws.last {
		out = append(out, p)
	}
	return out
}

// Active are those of Pods that are not on their way out.
func (ws *Workers) Active() []*core.Pod {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	out := make([]*core.Pod, 0, len(ws.live))
	for uid, w := range ws.live {
		if p := ws.last[uid]; p != nil && !w.ends.Load() && !phaseIsFinal(p.Status.Phase) {
			out = append(out, w.held.Load())
		}
	}
	return out
}

// Complete is closed once Pods has named all pods of this node.
func (ws *Workers) Complete() <-chan struct{} { return ws.complete }

// Wait waits for all workers after the context of Adopt ended.
func (ws *Workers) Wait() { ws.wg.Wait() }

// handler is the runtime handler that the pod's RuntimeClass names.
func (d *Deps) handler(pod *core.Pod) (string, error) {
	if pod.Spec.RuntimeClassName == nil || *pod.Spec.RuntimeClassName == "" {
		return "", nil
	}
	rc, ok := client.Lookup[nodev1.RuntimeClass](d.View, object.Key{Name: *pod.Spec.RuntimeClassName})
	if !ok {
		return "", fmt.Errorf("runtimeclass.node.k8s.io %q not found", *pod.Spec.RuntimeClassName)
	}
	return rc.Handler, nil
}

// Relist compares the states of all containers and sandboxes with what the runtime says and wakes the pods of those that differ.
func (ws *Workers) Relist(ctx context.Context) error {
	list, err := ws.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return err
	}
	boxes, err := ws.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	now := map[types.UID]map[string]bool{} // id -> running, or ready
	note := func(id string, up bool) {
		if uid, ok := ws.Index.Of(id); ok {
			if now[uid] == nil {
				now[uid] = map[string]bool{}
			}
			now[uid][id] = up
		}
	}
	for _, c := range list.GetContainers() {
		note(c.GetId(), c.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING)
	}
	for _, b := range boxes.GetItems() {
		note(b.GetId(), b.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY)
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.live {
		seen := now[w.uid]
		w.post(func() { w.compare(seen) })
	}
	return nil
}

// compare marks what is not as it was for reading.
func (w *worker) compare(seen map[string]bool) {
	for i := range w.s.Runtime.Containers {
		c := &w.s.Runtime.Containers[i]
		if up, ok := seen[c.ID]; !ok || up != (c.State == observe.Running) {
			w.unread[c.ID] = true
		}
	}
	for i := range w.s.Runtime.Sandboxes {
		s := &w.s.Runtime.Sandboxes[i]
		if up, ok := seen[s.ID]; !ok || up != s.Ready {
			w.unread[s.ID] = true
		}
	}
}
