package evict

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	schedule "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/pod"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
	"proa.dev/object"
)

// Reason is that of evicted pods.
const Reason = "Evicted"

// Times of the loop.
const (
	every         = 10 * time.Second
	awaitEnd      = 30 * time.Second // how long an evicted pod is waited for before there may be another
	stallPause    = time.Second      // between two looks that stalls cause
	hardGrace     = 1                // seconds, of pods that go at once
	transitionFor = 5 * time.Minute
)

// Pods are the pods of the node.
type Pods interface {
	// Active are the pods of this node that are not on their way out.
	Active() []*core.Pod
	// Evict ends one; the answer is closed when it has ended.
	Evict(uid types.UID, e pod.Eviction) <-chan struct{}
}

// Stats says what pods use.
type Stats interface {
	Summary(ctx context.Context, cpuAndMemory bool) (*stats.Summary, error)
	// Pod is what one pod uses; nil if nothing is known of it.
	Pod(ctx context.Context, uid types.UID) (*stats.PodStats, error)
}

// Recorder writes events.
type Recorder interface {
	Event(o object.Object, eventtype, reason, format string, args ...any)
}

// Deps are what an Evictor needs.
type Deps struct {
	Config  Config
	Machine Machine
	Node    func() *core.Node // this node's object; nil before it is registered
	Pods    Pods
	Stats   Stats
	Reclaim func(ctx context.Context) error // removes images that no container uses
	Changed func()                          // the node's conditions are others now
	Events  Recorder
	Log     *slog.Logger
}

// Evictor watches what runs short.
type Evictor struct {
	Deps
	watch *watch
	said  core.ResourceName // what was last said to run short
	ended prom.Vec[Signal, atomic.Int64]
	ages  prom.Times[[1]string] // of what was measured, when a pod was ended for it

	mu         sync.Mutex // guards conditions
	conditions []core.NodeConditionType
}

// New starts nothing. It fails for a configuration that can not be read.
func New(d Deps) (*Evictor, error) {
	thresholds, err := Thresholds(d.Config)
	if err != nil {
		return nil, err
	}
	if d.Config.Transition == 0 {
		d.Config.Transition = transitionFor
	}
	return &Evictor{Deps: d, watch: newWatch(thresholds, d.Config.Transition)}, nil
}

// Kept is what pods can not have of a machine with so many bytes of memory and disk.
func (e *Evictor) Kept(memory, disk int64) core.ResourceList {
	return kept(e.watch.thresholds, memory, disk)
}

// Kept is what an Evictor of a configuration keeps from pods, on a machine with so many bytes of memory and disk.
func Kept(c Config, memory, disk int64) (core.ResourceList, error) {
	thresholds, err := Thresholds(c)
	return kept(thresholds, memory, disk), err
}

// Has says whether the node has a condition (MemoryPressure, DiskPressure, PIDPressure) now.
func (e *Evictor) Has(c core.NodeConditionType) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.conditions, c)
}

// Refuse says why a new pod may not come to the node; nil: it may. Short memory keeps only pods away that ask for nothing and do not
// tolerate it; critical pods always may.
func (e *Evictor) Refuse(p *core.Pod) *status.Reason {
	e.mu.Lock()
	conditions := e.conditions
	e.mu.Unlock()
	if len(conditions) == 0 || spec.Critical(p) {
		return nil
	}
	if len(conditions) == 1 && conditions[0] == core.NodeMemoryPressure {
		taint := core.Taint{Key: core.TaintNodeMemoryPressure, Effect: core.TaintEffectNoSchedule}
		if spec.QOS(p) != core.PodQOSBestEffort || schedule.TolerationsTolerateTaint(klog.Background(), p.Spec.Tolerations, &taint, true) {
			return nil
		}
	}
	return &status.Reason{Reason: Reason, Message: fmt.Sprintf("The node had condition: %v. ", conditions)}
}

// Run watches until ctx ends.
func (e *Evictor) Run(ctx context.Context) error {
	stalls := e.Machine.stalls(ctx, e.Log)
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		pause := every
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		case <-stalls:
			pause = stallPause
		}
		again, err := e.look(ctx)
		if err != nil && ctx.Err() == nil {
			e.Log.Warn("what runs short is not known", "err", err)
		}
		if again {
			pause = 0
		}
		t.Reset(pause)
	}
}

// look measures once and does what follows. again says that a pod was ended: there may be more to do at once.
func (e *Evictor) look(ctx context.Context) (again bool, err error) {
	read := time.Now()
	r, err := e.Machine.Read()
	conditions, act := e.watch.look(r, time.Now())
	e.set(conditions)
	if err != nil {
		return false, err
	}
	pods := e.Pods.Active()
	ended, err := e.overLimits(ctx, pods)
	if len(ended) > 0 || err != nil {
		return e.await(ctx, ended), err
	}
	if len(act) == 0 {
		e.said = ""
		return false, nil
	}
	t := act[0]
	m, _ := meaningOf(t.Signal)
	if e.said != m.short {
		e.said = m.short
		e.Log.Warn("the node runs short", "of", m.short, "signal", t.Signal, "available", r[t.Signal].Available, "capacity", r[t.Signal].Capacity)
	}
	if n := e.Node(); n != nil {
		e.Events.Event(n, core.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim %s", m.short)
	}
	if m.condition == core.NodeDiskPressure && e.reclaimed(ctx, t) {
		return false, nil
	}
	return e.one(ctx, pods, t, r[t.Signal], read)
}

func (e *Evictor) set(conditions []core.NodeConditionType) {
	e.mu.Lock()
	changed := !slices.Equal(e.conditions, conditions)
	e.conditions = conditions
	e.mu.Unlock()
	if changed {
		e.Changed()
	}
}

// overLimits ends the pods that use more local storage than they may. Only pods that have a limit are measured.
func (e *Evictor) overLimits(ctx context.Context, pods []*core.Pod) (ended []<-chan struct{}, err error) {
	for _, p := range pods {
		if !limited(p) || spec.Critical(p) {
			continue
		}
		u, err := e.Stats.Pod(ctx, p.UID)
		if err != nil {
			return ended, fmt.Errorf("measure pod %s: %w", spec.Name(p), err)
		}
		if u == nil {
			continue
		}
		if limit, message := beyond(p, u, e.Machine.Split()); message != "" {
			e.count(limit)
			ended = append(ended, e.evict(p, message, nil, new(int64(hardGrace))))
		}
	}
	return ended, nil
}

// reclaimed removes unused images and says whether that was enough.
func (e *Evictor) reclaimed(ctx context.Context, t Threshold) bool {
	if err := e.Reclaim(ctx); err != nil {
		e.Log.Warn("unused images not removed", "err", err)
	}
	r, err := e.Machine.Read()
	if err != nil {
		return false
	}
	l := r[t.Signal]
	return l.Available >= t.Value.of(l.Capacity)+t.Reclaim.of(l.Capacity)
}

// one ends the pod that has to go first, for what was read then.
func (e *Evictor) one(ctx context.Context, pods []*core.Pod, t Threshold, l Level, read time.Time) (bool, error) {
	s, err := e.Stats.Summary(ctx, false)
	if err != nil {
		return false, fmt.Errorf("measure the pods: %w", err)
	}
	by := map[string]*stats.PodStats{}
	for i := range s.Pods {
		by[s.Pods[i].PodRef.UID] = &s.Pods[i]
	}
	of := func(p *core.Pod) *stats.PodStats { return by[string(p.UID)] }
	rank(pods, of, t.Signal, e.Machine.Split())
	for _, p := range pods {
		if spec.Critical(p) {
			continue
		}
		grace := new(int64(hardGrace))
		if t.Soft {
			grace = new(int64(e.Config.MaxGrace.Seconds()))
		}
		message := because(p, of(p), t, l)
		e.count(t.Signal)
		e.ages.Add(prom.Usual, [1]string{string(t.Signal)}, int64(time.Since(read)))
		return e.await(ctx, []<-chan struct{}{e.evict(p, message, pod.Disrupted(message), grace)}), nil
	}
	return false, nil // nothing runs that could go
}

func (e *Evictor) count(s Signal) { e.ended.Get(s, nil).Add(1) }

// Page says how many pods were ended, by the signal.
func (e *Evictor) Page(p *prom.Page) {
	p.Head("kubelet_evictions", "counter", "[ALPHA] Pods that were ended because something ran short, by the signal.")
	e.ended.Each(cmp.Compare, func(s Signal, n *atomic.Int64) { p.Value(prom.Labels("eviction_signal", string(s)), float64(n.Load())) })
	e.ages.Page(p, "kubelet_eviction_stats_age_seconds", "[ALPHA] How old that was which a pod was ended for, by the signal.", [1]string{"eviction_signal"})
}

func (e *Evictor) evict(p *core.Pod, message string, condition *core.PodCondition, grace *int64) <-chan struct{} {
	e.Log.Info("pod is evicted", "ns", p.Namespace, "name", p.Name, "why", message)
	e.Events.Event(p, core.EventTypeWarning, Reason, "%s", message)
	return e.Pods.Evict(p.UID, pod.Eviction{Reason: status.Reason{Reason: Reason, Message: message}, Grace: grace, Condition: condition})
}

// await waits for pods to end, not for ever. It is true if all have.
func (e *Evictor) await(ctx context.Context, ended []<-chan struct{}) bool {
	t := time.NewTimer(awaitEnd)
	defer t.Stop()
	for _, c := range ended {
		select {
		case <-c:
		case <-t.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}
