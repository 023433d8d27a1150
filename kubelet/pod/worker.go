package pod

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/probe"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// holdPending is how long the status of a pod that is just starting is held back: usually it runs before that, and one write says all.
const holdPending = 150 * time.Millisecond

// worker drives one pod.
type worker struct {
	*Deps
	uid  types.UID
	void atomic.Bool   // it does not count for what the node has left: it was refused, or makes room for another
	wake chan struct{} // holds one token while there may be something to do
	done chan struct{} // closed when run has returned
	ends atomic.Bool   // it was decided that the pod ends

	held  atomic.Pointer[core.Pod] // the pod with the resources that it was allocated
	waits atomic.Bool              // for others to give back what its resize wants
	shown shown                    // on the page of metrics
	gone  bool                     // the API has no such pod any more; guarded by Workers.mu

	mu     sync.Mutex // guards inbox and closed
	inbox  []func()
	closed bool // nobody reads the inbox any more

	// What follows belongs to the goroutine of run; others reach it through post only.
	s        State
	told     core.PodStatus
	starts   context.Context // of steps that a Plan.Cancel stops
	cancel   context.CancelFunc
	steps    sync.WaitGroup
	unread   map[string]bool // containers and sandboxes whose state has to be read from the runtime
	finished bool            // the last status was told
	retell   bool            // tell the status again, although it is the same: the writer drops it if the API has it
	kills    map[string]context.CancelFunc
	moaned   map[string]status.Reason             // by container name: what an event told of already
	waiters  map[string][]chan struct{}           // by container id: closed when it has ended
	evicted  []chan struct{}                      // closed when no container runs any more
	changed  time.Time                            // when a container was last killed to start again as the pod says now
	applied  map[string]core.ResourceRequirements // by container id: what it was made with, or got later
	pinned   map[string]string                    // by container id: the CPUs that Repin put it on last
	podGiven *runtimeapi.LinuxContainerResources  // what the pod as a whole has; nil: not known
	pending  *pending                             // a resize that has to wait
	asked    *core.Pod                            // the pod as the API last had it, with the resources that it asks for
	since    time.Time                            // when it was first heard of
	why      string                               // it is looked at, in Kubernetes' words: create, update, sync, kill or terminated
	resizing *resizing                            // one under way
}

func newWorker(d *Deps, pod *core.Pod) *worker {
	w := &worker{
		Deps: d, uid: pod.UID, wake: make(chan struct{}, 1), done: make(chan struct{}),
		unread: map[string]bool{}, kills: map[string]context.CancelFunc{}, moaned: map[string]status.Reason{}, waiters: map[string][]chan struct{}{},
		applied: map[string]core.ResourceRequirements{}, pinned: map[string]string{}, asked: pod, since: time.Now(), why: "create",
	}
	held := allocated(pod)
	w.held.Store(held)
	w.podGiven = firstGiven(d.Node, held)
	if held != pod {
		w.pending = stillPending(pod)
		w.inbox = append(w.inbox, func() { w.take(pod, "pods_added") })
	}
	w.s = State{
		Pod: held, Restart: map[string]bool{},
		Probes: map[string]probe.State{}, Back: map[string]BackOff{}, Failed: map[string]Failure{},
		Busy: Busy{Start: map[string]bool{}, Kill: map[string]int64{}, Remove: map[string]bool{}},
	}
	w.told = *pod.Status.DeepCopy()
	for _, c := range pod.Status.Conditions {
		w.s.Reset = w.s.Reset || c.Type == core.AllContainersRestarting && c.Status == core.ConditionTrue
	}
	return w
}

// post has f run on the worker's goroutine, soon. It never blocks. It is false if the worker has ended: f will not run.
func (w *worker) post(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.inbox = append(w.inbox, f)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return true
}

// leave is the last that run does.
func (w *worker) leave() {
	w.cancel()
	w.steps.Wait()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.drain()
	w.release(true)
	close(w.done)
}

// run drives the pod until nothing is left of it, or ctx ends: then everything stays as it is, for the next process to take over.
func (w *worker) run(ctx context.Context) {
	w.starts, w.cancel = context.WithCancel(ctx)
	defer w.leave()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	w.read(ctx) // before anybody is answered: what an earlier process left has no names yet
	w.counts.begun.Add(prom.Usual, prom.None{}, int64(time.Since(w.since)))
	for {
		began := time.Now()
		w.drain()
		w.read(ctx)
		w.s.Now = time.Now()
		w.resize(w.starts)
		plan := next(&w.s)
		if r := w.resizing; r != nil && !r.retry.IsZero() {
			plan.wake(r.retry)
		}
		w.do(ctx, &plan)
		w.tell(&plan)
		w.looked(began)
		if plan.Finish && w.s.Gone {
			w.Status.Forget(w.uid)
			return
		}
		wait := time.Hour
		if !plan.Wake.IsZero() {
			wait = max(time.Until(plan.Wake), 0)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
	}
}

// looked counts a look at the pod.
func (w *worker) looked(began time.Time) {
	w.show()
	switch {
	case w.finished:
		w.why = "terminated"
	case w.s.End != nil || w.s.Gone:
		w.why = "kill"
	}
	w.counts.looks.Add(prom.Usual, [1]string{w.why}, int64(time.Since(began)))
	w.why = "sync"
}

func (w *worker) drain() {
	w.mu.Lock()
	todo := w.inbox
	w.inbox = nil
	w.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// update takes a new version of the pod's object.
func (w *worker) update(pod *core.Pod) {
	changed := pod.Generation != w.s.Pod.Generation || !equality.Semantic.DeepEqual(pod.Annotations, w.s.Pod.Annotations) ||
		!equality.Semantic.DeepEqual(pod.Labels, w.s.Pod.Labels)
	w.counts.resized.ask(w.asked, pod)
	w.asked, w.why = pod, "update"
	w.take(pod, "pod_updated")
	if changed {
		w.retry()
	}
}

// retry makes everything that failed, and volumes that may have changed, due now. Images keep their back-off.
func (w *worker) retry() {
	for name, f := range w.s.Failed {
		if f.Image == "" {
			delete(w.s.Failed, name)
		}
	}
	w.s.Stale = time.Now()
}

// read brings what is known of the runtime up to date.
func (w *worker) read(ctx context.Context) {
	news := len(w.unread) > 0
	for id := range w.unread {
		delete(w.unread, id)
		if err := w.readOne(ctx, id); err != nil && ctx.Err() == nil {
			w.Log.Warn("container not read", "ns", w.s.Pod.Namespace, "name", w.s.Pod.Name, "id", id, "err", err)
			time.AfterFunc(time.Second, func() { w.post(func() { w.unread[id] = true }) })
		}
	}
	if news && w.Resources != nil {
		w.repin() // its CPUs may have become others while it was being made
	}
	w.probes()
	w.release(false)
}

// probes follows the containers: what runs is probed, what does not is not.
func (w *worker) probes() {
	clear(w.s.Probes)
	for i := range w.s.Runtime.Containers {
		o := &w.s.Runtime.Containers[i]
		if o.State != observe.Running {
			w.Probes.Stop(o.ID)
			delete(w.applied, o.ID)
			continue
		}
		if w.s.Busy.Start[o.Name] {
			continue
		}
		c, _ := spec.FindContainer(w.s.Pod, o.Name)
		if c == nil {
			continue
		}
		ips := w.s.Runtime.IPs()
		if w.s.Pod.Spec.HostNetwork {
			ips = w.Node.IPs
		}
		st, ok := w.Probes.State(o.ID)
		if !ok && len(ips) > 0 {
			w.Probes.Start(probe.Target{Pod: w.s.Pod, Container: c, ID: o.ID, IP: ips[0], Started: o.Started, Was: w.was(o)})
			st, ok = w.Probes.State(o.ID)
		}
		if !ok {
			st = probe.State{Started: c.StartupProbe == nil, Ready: c.ReadinessProbe == nil}
		}
		w.s.Probes[o.ID] = st
	}
}

// was is what the status told of an instance before this process saw it for the first time.
func (w *worker) was(o *observe.Container) *probe.State {
	for _, list := range [][]core.ContainerStatus{w.told.ContainerStatuses, w.told.InitContainerStatuses} {
		for i := range list {
			if list[i].ContainerID == w.RuntimeName+"://"+o.ID {
				return &probe.State{Started: list[i].Started != nil && *list[i].Started, Ready: list[i].Ready}
			}
		}
	}
	return nil
}

const readTimeout = 30 * time.Second

// readOne reads a container, or a sandbox, from the runtime.
func (w *worker) readOne(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout) // a runtime that hangs must not keep the pod from being looked at
	defer cancel()
	for i := range w.s.Runtime.Sandboxes {
		if w.s.Runtime.Sandboxes[i].ID == id {
			return w.readSandbox(ctx, id)
		}
	}
	o, err := w.inspect(ctx, id)
	if cri.NotFound(err) {
		w.Probes.Stop(id)
		w.s.Runtime.DropContainer(id)
		return nil
	}
	if err != nil {
		return err
	}
	if have := w.s.Runtime.ByID(id); have != nil {
		o.Sandbox = have.Sandbox
		if have.State == observe.Exited && o.State == observe.Exited {
			o.Message = have.Message // with the termination message
		}
		if have.State != observe.Exited && o.State == observe.Exited {
			o.Message = terminationMessage(&o)
		}
	} else if o.State == observe.Exited {
		o.Message = terminationMessage(&o)
	}
	w.s.Runtime.SetContainer(o)
	return nil
}

// tell hands the status that follows from the state to the writer, if it changed.
func (w *worker) tell(p *Plan) {
	if w.s.Gone || w.finished {
		return
	}
	in := status.Input{
		Pod: w.s.Pod, Runtime: &w.s.Runtime, RuntimeName: w.RuntimeName, HostIPs: w.Node.IPs, Old: &w.told, Now: w.s.Now,
		Probed: func(id string) status.Probed {
			st := w.s.Probes[id]
			return status.Probed{Started: st.Started, Ready: st.Ready}
		},
		Starting: w.s.Busy.Start, Waiting: p.Waiting, Ending: w.s.End != nil, Resetting: w.s.Reset, Applied: w.appliedTo, Resize: w.resizeConditions(),
		RecursiveReadOnly: w.recursive(w.s.Pod),
	}
	if w.s.End != nil {
		in.Fail, in.Disrupted = w.s.End.Why, w.s.End.Condition
	}
	if w.Resources != nil {
		in.Given = func(container string) []core.ResourceStatus { return w.Resources.Statuses(w.s.Pod, container) }
	}
	s := status.Generate(in)
	if w.s.End != nil && !phaseIsFinal(w.told.Phase) && phaseIsFinal(s.Phase) && (w.s.Runtime.AnyRunning() || w.holds()) {
		s.Phase, s.Reason, s.Message = w.told.Phase, w.told.Reason, w.told.Message // not before the last container has ended
	}
	w.s.Since = s.StartTime.Time
	w.counts.terminations(&w.told, &s)
	switch {
	case p.Finish:
		w.finished = true
		w.told = s
		w.Status.Finish(w.s.Pod, s)
	case w.retell || !equality.Semantic.DeepEqual(w.told, s):
		w.told, w.retell = s, false
		w.Status.Set(w.s.Pod, s, w.hold(&s, p))
	}
}

// hold says how long a status may wait for a better one. A container that starts anew for another image is back before its absence would
// be known everywhere.
func (w *worker) hold(s *core.PodStatus, p *Plan) time.Duration {
	if since := w.s.Now.Sub(w.changed); since < holdPending && w.s.End == nil && len(w.s.Failed) == 0 {
		return holdPending - since
	}
	if s.Phase != core.PodPending || len(p.Waiting) > 0 || w.s.End != nil || len(w.s.Failed) > 0 {
		return 0
	}
	return holdPending
}
