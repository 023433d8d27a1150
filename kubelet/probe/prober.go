package probe

import (
	"context"
	"net/netip"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/spec"
	"proa.dev/object"
)

// Recorder writes events of parts of objects.
type Recorder interface {
	Field(o object.Object, fieldPath, eventtype, reason, format string, args ...any)
}

// Deps are what a Prober needs.
type Deps struct {
	Runtime cri.Runtime
	Events  Recorder
	// Changed is called, from any goroutine, when the State of a container of that pod changed.
	Changed func(uid types.UID)
}

// Prober runs the probes of all containers of the node.
type Prober struct {
	Deps
	ctx context.Context // of Run; probes end with it

	mu   sync.Mutex // guards live, and all fields of its entries
	live map[string]*container
}

// New starts nothing.
func New(d Deps) (*Prober, error) {
	return &Prober{Deps: d, ctx: context.Background(), live: map[string]*container{}}, nil
}

// Bind ties everything that is started from now on to ctx. It has to be called before the first Start.
func (p *Prober) Bind(ctx context.Context) { p.ctx = ctx }

// State is what the probes of one container instance say. A probe that does not exist has succeeded.
type State struct {
	Started bool // the startup probe has succeeded
	Ready   bool
	// Failed is set once the container has to be killed: which probe says so, and after what grace if not the pod's.
	Failed *Failure
}

// Failure is a probe that failed as often as it may.
type Failure struct {
	Probe string // "startup" or "liveness"
	Grace *int64 // seconds
}

// Target is a running container instance to be probed.
type Target struct {
	Pod       *core.Pod
	Container *core.Container
	ID        string
	IP        netip.Addr // of the pod
	Started   time.Time
	// Was is the state from before a restart of the kubelet, nil for a new instance: what was ready stays so until a probe says else.
	Was *State
}

type container struct {
	Target
	state  State
	probes []*probe
	gone   bool
}

type probe struct {
	kind    string // "startup", "liveness", "readiness"
	spec    *core.Probe
	timer   *time.Timer
	cancel  context.CancelFunc
	same    int // consecutive equal results
	last    bool
	tries   int  // extra tries so far
	decided bool // succeeded once, or a whole period has gone by
	next    time.Time
	counts  [2]int64 // results: failures, successes
	took    *prom.Histogram
}

// Start begins to probe an instance. A second Start of the same instance is harmless.
func (p *Prober) Start(t Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live[t.ID] != nil {
		return
	}
	c := &container{Target: t}
	p.live[t.ID] = c
	c.state = State{Started: t.Container.StartupProbe == nil, Ready: t.Container.ReadinessProbe == nil}
	if t.Was != nil {
		c.state.Started = c.state.Started || t.Was.Started
		c.state.Ready = c.state.Ready || t.Was.Ready
	}
	if !c.state.Started {
		p.add(c, "startup", t.Container.StartupProbe)
		return
	}
	p.running(c)
}

// running begins the probes that wait for the startup probe. p.mu is held.
func (p *Prober) running(c *container) {
	p.add(c, "liveness", c.Container.LivenessProbe)
	p.add(c, "readiness", c.Container.ReadinessProbe)
}

func (p *Prober) add(c *container, kind string, s *core.Probe) {
	if s == nil {
		return
	}
	b := &probe{kind: kind, spec: s, decided: c.Was != nil, took: durations.New()}
	c.probes = append(c.probes, b)
	b.next = c.Started.Add(time.Duration(s.InitialDelaySeconds) * time.Second)
	b.timer = time.AfterFunc(time.Until(b.next), func() { p.fire(c, b) })
}

// Stop ends the probes of an instance and forgets its state.
func (p *Prober) Stop(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.live[id]; c != nil {
		delete(p.live, id)
		c.stop()
	}
}

// Mute ends liveness and startup probes of an instance that is being stopped; readiness goes on.
func (p *Prober) Mute(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.live[id]
	if c == nil {
		return
	}
	for _, b := range c.probes {
		if b.kind != "readiness" {
			b.stop()
		}
	}
}

func (c *container) stop() {
	c.gone = true
	for _, b := range c.probes {
		b.stop()
	}
}

func (b *probe) stop() {
	b.timer.Stop()
	b.spec = nil
	if b.cancel != nil {
		b.cancel()
	}
}

// State is the state of an instance. One that is not probed has no say: it has started and is ready.
func (p *Prober) State(id string) (State, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.live[id]
	if c == nil {
		return State{}, false
	}
	return c.state, true
}

// fire runs one probe once, on the timer's goroutine, and sets the timer again.
func (p *Prober) fire(c *container, b *probe) {
	p.mu.Lock()
	if c.gone || b.spec == nil || p.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	s := b.spec
	ctx, cancel := context.WithTimeout(p.ctx, time.Duration(max(s.TimeoutSeconds, 1))*time.Second)
	b.cancel = cancel
	p.mu.Unlock()

	began := time.Now()
	ok, message := check(ctx, p.Runtime, c.Target, s)
	took := time.Since(began)
	ended := p.ctx.Err() != nil
	cancel()

	p.mu.Lock()
	b.cancel = nil
	if c.gone || b.spec == nil || ended {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	extra := !ok && !b.decided && s.Exec == nil && b.kind != "liveness"
	if extra {
		extra = b.again(now, func() { p.fire(c, b) })
	}
	changed := false
	if !extra {
		b.decided = true
		b.count(ok, took)
		changed = p.settle(c, b, ok)
		if !c.gone && b.spec != nil {
			for b.next = b.next.Add(period(s)); !b.next.After(now); b.next = b.next.Add(period(s)) {
			}
			b.timer = time.AfterFunc(time.Until(b.next), func() { p.fire(c, b) })
		}
	}
	p.mu.Unlock()

	_, field := spec.FindContainer(c.Pod, c.Container.Name)
	switch {
	case !ok && !extra:
		p.Events.Field(c.Pod, field, core.EventTypeWarning, "Unhealthy", "%s probe failed: %s", title(b.kind), message)
	case ok && message != "":
		p.Events.Field(c.Pod, field, core.EventTypeWarning, "ProbeWarning", "%s probe warning: %s", title(b.kind), message)
	}
	if changed {
		p.Changed(c.Pod.UID)
	}
}

// again sets the timer for an extra try, unless the next regular one comes first.
func (b *probe) again(now time.Time, fire func()) bool {
	wait := 20 * time.Millisecond << min(b.tries, 6)
	b.tries++
	if now.Add(wait).After(b.next.Add(period(b.spec))) {
		return false
	}
	b.timer = time.AfterFunc(wait, fire)
	return true
}

func period(s *core.Probe) time.Duration { return time.Duration(max(s.PeriodSeconds, 1)) * time.Second }

// settle counts one result and says whether the container's state changed. p.mu is held.
func (p *Prober) settle(c *container, b *probe, ok bool) bool {
	if b.same == 0 || b.last != ok {
		b.same, b.last = 0, ok
	}
	b.same++
	if ok && b.same < int(b.spec.SuccessThreshold) || !ok && b.same < int(max(b.spec.FailureThreshold, 1)) {
		return false
	}
	was := c.state
	switch b.kind {
	case "readiness":
		c.state.Ready = ok
	case "startup":
		if ok {
			c.state.Started = true
			b.stop()
			p.running(c)
		} else {
			c.state.Failed = &Failure{b.kind, b.spec.TerminationGracePeriodSeconds}
			b.stop()
		}
	case "liveness":
		if !ok {
			c.state.Failed = &Failure{b.kind, b.spec.TerminationGracePeriodSeconds}
			b.stop()
		}
	}
	return c.state != was
}

func title(kind string) string { return string(kind[0]-'a'+'A') + kind[1:] }
