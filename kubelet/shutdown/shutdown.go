package shutdown

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kit/atomicfile"
	"proa.dev/kubelet/pod"
	"proa.dev/kubelet/status"
)

// What users of Kubernetes know by these words.
const (
	reason  = "Terminated"
	message = "Pod was terminated in response to imminent node shutdown."
	down    = "node is shutting down"
)

// refused is why new pods are not taken meanwhile.
var refused = status.Reason{Reason: "NodeShutdown", Message: "Pod was rejected as the node is shutting down."}

// Pods is what is asked of the pods.
type Pods interface {
	Active() []*core.Pod
	Evict(uid types.UID, e pod.Eviction) <-chan struct{}
}

// Config says how long pods have. The zero value has nobody wait for a shutdown.
type Config struct {
	Periods []Period
	Bus     string // D-Bus address; "" is the machine's
	Conf    string // where logind looks for configuration; default /etc/systemd/logind.conf.d
}

// Deps are what a Manager needs.
type Deps struct {
	Config
	Pods    Pods
	State   string               // file that remembers the last shutdown, for the life after it
	Mounts  func(types.UID) bool // whether a pod has volumes still: drivers of volumes must not end before
	Changed func()               // Down says something else
	Note    func(message string) // an event about the node
	Log     *slog.Logger
}

// Manager waits for the end of the machine.
type Manager struct {
	Deps
	down       atomic.Bool
	began, end atomic.Int64 // of the last shutdown, in ms since 1970; 0: none
}

// New starts nothing. It reads when the machine last went down.
func New(d Deps) *Manager {
	if d.Conf == "" {
		d.Conf = "/etc/systemd/logind.conf.d"
	}
	m := &Manager{Deps: d}
	var last state
	text, err := os.ReadFile(d.State)
	if err == nil {
		err = json.Unmarshal(text, &last)
	}
	if err != nil && !os.IsNotExist(err) {
		d.Log.Warn("the last shutdown of this machine is not known", "err", err)
		return m
	}
	m.began.Store(milli(last.StartTime))
	m.end.Store(milli(last.EndTime))
	return m
}

// state is what the file holds: Kubernetes' own form.
type state struct {
	StartTime time.Time `json:"startTime"`
	EndTime   time.Time `json:"endTime"`
}

func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// keep writes the file. Without it a shutdown goes on as well.
func (m *Manager) keep(s state) {
	m.began.Store(milli(s.StartTime))
	m.end.Store(milli(s.EndTime))
	text, err := json.Marshal(s)
	if err == nil {
		err = atomicfile.Write(m.State, text, 0o600)
	}
	if err != nil {
		m.Log.Warn("this shutdown is not remembered", "err", err)
	}
}

// Down is why the node is not ready; "" where this is no reason.
func (m *Manager) Down() string {
	if m.down.Load() {
		return down
	}
	return ""
}

// Refuse is why no new pod is taken now; nil: they are.
func (m *Manager) Refuse(*core.Pod) *status.Reason {
	if !m.down.Load() {
		return nil
	}
	r := refused
	return &r
}

// Times are when the last shutdown began and when its pods had ended; 0 where there was none.
func (m *Manager) Times() (began, end time.Time) {
	return time.UnixMilli(m.began.Load()), time.UnixMilli(m.end.Load())
}

// How long after a connection broke the next is made.
const (
	soon = time.Second
	late = time.Minute
)

// Run waits for shutdowns until ctx ends. A machine without logind has none; it is looked for now and then.
func (m *Manager) Run(ctx context.Context) error {
	if len(m.Periods) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	wait, told := soon, ""
	for {
		held, err := m.watch(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if held {
			wait = soon
		}
		if text := err.Error(); text != told {
			m.Log.Warn("shutdowns of this machine are not seen: its pods would not end in order", "err", err)
			told = text
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		wait = min(2*wait, late)
	}
}

// watch follows one connection; held says that the lock was ours.
func (m *Manager) watch(ctx context.Context) (held bool, err error) {
	b, err := dial(m.Bus)
	if err != nil {
		return false, err
	}
	defer b.Close()
	stop := context.AfterFunc(ctx, func() { b.Close() })
	defer stop()
	if err := b.allow(ctx, whole(m.Periods), m.Conf); err != nil {
		return false, err
	}
	signals, err := b.shutdowns(ctx) // before the lock: what begins between the two is seen
	if err != nil {
		return false, err
	}
	lock, err := b.inhibit(ctx)
	if err != nil {
		return false, err
	}
	defer func() { lock.Close() }() // whichever it is then
	m.Log.Info("a shutdown of this machine waits for its pods", "periods", m.Periods)
	for s := range signals {
		on, err := active(s)
		if err != nil {
			m.Log.Warn("signal of logind not understood", "err", err)
			continue
		}
		if on {
			m.shutDown(ctx, lock)
			continue
		}
		if lock, err = m.calledOff(ctx, b, lock); err != nil {
			return true, err
		}
	}
	return true, errors.New("the connection to D-Bus has ended")
}

// shutDown ends all pods and lets the machine go down.
func (m *Manager) shutDown(ctx context.Context, lock *os.File) {
	m.Log.Info("the machine goes down")
	m.down.Store(true)
	now := state{StartTime: time.Now()}
	m.keep(now)
	m.Note("Shutdown manager detected shutdown event")
	m.Changed()
	for _, g := range plan(m.Periods, m.Pods.Active()) {
		m.finish(ctx, g)
	}
	now.EndTime = time.Now()
	m.keep(now)
	m.Log.Info("the pods have ended", "took", now.EndTime.Sub(now.StartTime))
	lock.Close()
}

// finish ends the pods of one group and waits for them, as long as they have.
func (m *Manager) finish(ctx context.Context, g group) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(g.Seconds)*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range g.pods {
		grace := g.Seconds
		ended := m.Pods.Evict(p.UID, pod.Eviction{Reason: status.Reason{Reason: reason, Message: message}, Grace: &grace, Condition: pod.Disrupted(message)})
		wg.Go(func() {
			if !m.over(ctx, p.UID, ended) {
				m.Log.Warn("a pod has not ended in its time", "ns", p.Namespace, "name", p.Name, "seconds", g.Seconds)
			}
		})
	}
	wg.Wait()
}

// lookEvery is how often it is looked whether volumes are still there, for the seconds that a shutdown takes.
const lookEvery = 50 * time.Millisecond

// over waits until nothing of a pod runs and its volumes are unmounted.
func (m *Manager) over(ctx context.Context, uid types.UID, ended <-chan struct{}) bool {
	select {
	case <-ended:
	case <-ctx.Done():
		return false
	}
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for m.Mounts(uid) {
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// calledOff takes up work again, and returns the lock for the next time.
func (m *Manager) calledOff(ctx context.Context, b bus, old *os.File) (*os.File, error) {
	m.Log.Info("the machine does not go down")
	m.down.Store(false)
	m.Note("Shutdown manager detected shutdown cancellation")
	m.Changed()
	lock, err := b.inhibit(ctx)
	if err != nil {
		return old, err
	}
	old.Close() // it may be closed already
	return lock, nil
}
