package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/kit/run"
	"proa.dev/object"
	"proa.dev/scheduler/devices"
)

// Name is what pods say that want this scheduler.
const Name = core.DefaultSchedulerName

// binders is how many bindings are written at a time.
const binders = 64

// helpers is how many conditions and evictions are written at a time.
const helpers = 8

// maxClasses bounds the classes that are kept; each holds some 40 bytes per node.
const maxClasses = 128

// Deps are what a Scheduler works with.
type Deps struct {
	Client client.Client    // as the user system:kube-scheduler
	View   client.View      // of pods, nodes, claims, volumes, storage classes and namespaces
	Events *record.Recorder // somebody runs it; nil: the scheduler makes and runs its own
	Log    *slog.Logger
}

// Scheduler binds pods to nodes.
type Scheduler struct {
	api       client.Client
	view      client.View
	log       *slog.Logger
	events    *record.Recorder
	ownEvents bool
	inbox     inbox
	binds     chan *bind
	chores    chan func(context.Context)

	// Only the loop touches these.
	cluster *cluster
	queue   *queue
	devices *devices.State
	classes map[string]*class
	picks   int
	synced  int
	sources int // how many resources are watched before scheduling begins
}

// New makes a scheduler. It starts nothing.
func New(d Deps) (*Scheduler, error) {
	if d.Client == nil || d.View == nil {
		return nil, errors.New("make scheduler: no client or no view")
	}
	if d.Log == nil {
		d.Log = slog.Default()
	}
	own := d.Events == nil
	if own {
		d.Events = record.New(d.Client, Name, "")
	}
	return &Scheduler{
		api: d.Client, view: d.View, log: d.Log, events: d.Events, ownEvents: own,
		inbox: inbox{wake: make(chan struct{}, 1)}, binds: make(chan *bind, 4*binders), chores: make(chan func(context.Context), 1024),
		cluster: newCluster(d.View), queue: newQueue(), classes: map[string]*class{}, devices: devices.New(d.View),
	}, nil
}

// inbox carries what happened to the loop, in order per sender.
type inbox struct {
	wake chan struct{} // holds a token when there is something

	mu    sync.Mutex // guards steps
	steps []func(now time.Time)
}

func (in *inbox) send(step func(now time.Time)) {
	in.mu.Lock()
	in.steps = append(in.steps, step)
	in.mu.Unlock()
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func (in *inbox) take() []func(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s := in.steps
	in.steps = nil
	return s
}

// Run schedules until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	parts := []run.Component{
		{Name: "watch nodes", Run: func(ctx context.Context) error { return follow(ctx, s, s.nodeEvent) }},
		{Name: "watch pods", Run: func(ctx context.Context) error { return follow(ctx, s, s.podEvent) }},
		{Name: "watch claims", Run: func(ctx context.Context) error { return follow(ctx, s, s.claimEvent) }},
		{Name: "watch volumes", Run: func(ctx context.Context) error {
			return follow(ctx, s, func(_ client.EventType, _, _ *core.PersistentVolume, now time.Time) { s.queue.helped(byVolume, now) })
		}},
		{Name: "watch storage classes", Run: func(ctx context.Context) error {
			return follow(ctx, s, func(_ client.EventType, _, _ *storage.StorageClass, now time.Time) { s.queue.helped(byVolume, now) })
		}},
		{Name: "watch CSI nodes", Run: func(ctx context.Context) error {
			return follow(ctx, s, func(_ client.EventType, _, _ *storage.CSINode, now time.Time) { s.queue.helped(byVolume, now) })
		}},
		{Name: "watch storage capacities", Run: func(ctx context.Context) error {
			return follow(ctx, s, func(_ client.EventType, _, _ *storage.CSIStorageCapacity, now time.Time) {
				s.queue.helped(byVolume, now)
			})
		}},
	}
	parts = append(parts, s.deviceSources()...)
	s.sources = len(parts)
	parts = append(parts, run.Component{Name: "scheduling loop", Run: s.loop})
	if s.ownEvents {
		parts = append(parts, run.Component{Name: "events", Run: s.events.Run})
	}
	for range binders {
		parts = append(parts, run.Component{Name: "binder", Run: s.binder})
	}
	for range helpers {
		parts = append(parts, run.Component{Name: "helper", Run: s.help})
	}
	return run.All(ctx, parts...)
}

// help does what the loop must not wait for.
func (s *Scheduler) help(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case chore := <-s.chores:
			limited, cancel := context.WithTimeout(ctx, bindWithin)
			chore(limited)
			cancel()
		}
	}
}

// follow hands the events of one resource to the loop.
func follow[T any, P object.Ptr[T]](ctx context.Context, s *Scheduler, fn func(t client.EventType, now, old P, at time.Time)) error {
	return client.Watch(ctx, s.view, func(t client.EventType, now, old P) {
		s.inbox.send(func(at time.Time) {
			if t == client.Synced {
				s.synced++
				return
			}
			fn(t, now, old, at)
		})
	})
}

// loop owns the state. It schedules nothing before it knows all nodes and pods.
func (s *Scheduler) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		for _, step := range s.inbox.take() {
			step(now)
		}
		if s.synced == s.sources {
			if w := s.queue.next(now); w != nil {
				if err := s.schedule(ctx, w, now); err != nil {
					return err
				}
				continue
			}
		}
		var alarm <-chan time.Time
		if at := s.queue.wakeAt(); !at.IsZero() && s.synced == s.sources {
			timer.Reset(time.Until(at))
			alarm = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.inbox.wake:
		case <-alarm:
			s.queue.stale(time.Now())
		}
	}
}

func (s *Scheduler) nodeEvent(t client.EventType, o, _ *core.Node, now time.Time) {
	if t == client.Deleted {
		s.cluster.dropNode(o.Name)
		s.queue.helped(bySpread|byAffinity, now)
		return
	}
	s.queue.helped(s.cluster.setNode(o), now)
}

// claimEvent wakes pods that wait for a claim.
func (s *Scheduler) claimEvent(_ client.EventType, o, _ *core.PersistentVolumeClaim, now time.Time) {
	s.queue.helped(byVolume, now)
}

// podEvent sorts a pod: on a node, waiting for one, or none of our business.
func (s *Scheduler) podEvent(t client.EventType, o, _ *core.Pod, now time.Time) {
	p := s.cluster.pods[o.UID]
	over := t == client.Deleted || o.Status.Phase == core.PodSucceeded || o.Status.Phase == core.PodFailed
	switch {
	case over:
		s.queue.drop(o.UID)
		if p != nil {
			s.cluster.remove(p)
			s.queue.helped(byResources|byPorts|byAffinity|bySpread|byPreemption|byVolume, now)
		}
	case o.Spec.NodeName != "":
		s.queue.drop(o.UID)
		s.settle(p, o, now)
	case p != nil && p.assumed:
		// Our binding is under way; this is older news.
	case !wants(o):
		s.queue.drop(o.UID)
		if p != nil {
			s.cluster.remove(p)
		}
	default:
		s.queue.set(o, now)
	}
}

// settle counts a pod on the node that the API says.
func (s *Scheduler) settle(p *placed, o *core.Pod, now time.Time) {
	if p != nil && !p.ghost && p.on.name == o.Spec.NodeName && sameRoom(p, o) {
		p.pod, p.assumed = o, false
		return
	}
	helped := byAffinity
	if p != nil {
		helped |= byResources | byPorts | bySpread
		s.cluster.remove(p)
	}
	s.cluster.place(o, o.Spec.NodeName)
	s.queue.helped(helped, now)
}

// sameRoom says whether two states of a placed pod take the same room and look the same to selectors.
func sameRoom(p *placed, b *core.Pod) bool {
	a := p.pod
	if !sameLabels(a, b) || (a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) {
		return false
	}
	if p.assumed || a.Generation == b.Generation && len(a.Status.ContainerStatuses) == 0 {
		return true
	}
	x, y := requests(a), requests(b) // resized in place
	return x.cpu == y.cpu && x.memory == y.memory && x.ephemeral == y.ephemeral
}

// wants says whether a pod waits for this scheduler.
func wants(o *core.Pod) bool {
	return o.DeletionTimestamp == nil && len(o.Spec.SchedulingGates) == 0 &&
		(o.Spec.SchedulerName == Name || o.Spec.SchedulerName == "")
}

// schedule finds a node for one pod.
func (s *Scheduler) schedule(ctx context.Context, w *waiting, now time.Time) error {
	if p := s.cluster.pods[w.pod.UID]; p != nil && p.ghost {
		s.cluster.remove(p) // the room that was kept for it is now its own to take
	}
	k := s.classOf(w.pod)
	if k.devices != nil && k.devices.Early { // its claims are yet to be made, which is no news for anybody
		s.queue.park(w, byDevices, now)
		return nil
	}
	if p, _ := k.problem(); p == "" {
		if n := k.pick(s.cluster); n != nil {
			return s.assume(ctx, w, n, k)
		}
	}
	s.fail(ctx, w, k, now)
	return nil
}

// classOf finds the class of a pod, or makes it.
func (s *Scheduler) classOf(pod *core.Pod) *class {
	s.picks++
	// What claims are bound to changes without the pod; and the class of a pod that is pinned to a node serves no other.
	asks := s.devices.Asks(pod)
	if asks || hasClaims(pod) || pinnedTo(pod) != nil {
		k := newClass(s.view, s.cluster, pod)
		if asks {
			k.devices = s.devices.Look(pod)
		}
		return k
	}
	key := classKey(pod)
	k := s.classes[key]
	if k == nil {
		if len(s.classes) >= maxClasses {
			s.forgetClass()
		}
		k = newClass(s.view, s.cluster, pod)
		s.classes[key] = k
	}
	k.used = s.picks
	return k
}

func (s *Scheduler) forgetClass() {
	oldest, at := "", s.picks+1
	for key, k := range s.classes {
		if k.used < at {
			oldest, at = key, k.used
		}
	}
	delete(s.classes, oldest)
}

func hasClaims(pod *core.Pod) bool {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].PersistentVolumeClaim != nil || pod.Spec.Volumes[i].Ephemeral != nil {
			return true
		}
	}
	return false
}
