package usage

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"proa.dev/client"
	"proa.dev/object"
)

const (
	freshFor  = 10 * time.Second // a reading is not taken anew before
	usableFor = 2 * time.Minute  // after it a reading is too old for a rate to start from
	settle    = time.Second      // between two readings where there was none
	within    = 5 * time.Second  // a node answers, or is left out
	atOnce    = 32               // nodes that are asked
)

// Deps are what a Source needs.
type Deps struct {
	View client.View
	// Ask gets a path of a node's own API.
	Ask func(ctx context.Context, n *core.Node, path string) (io.ReadCloser, error)
	Log *slog.Logger
}

// Source knows what nodes and pods use.
type Source struct {
	Deps
	turn chan struct{} // holds one token: who reads has it

	mu    sync.Mutex // guards nodes and read
	nodes map[string]*node
	read  time.Time
}

// New asks nobody yet.
func New(d Deps) *Source {
	s := &Source{Deps: d, turn: make(chan struct{}, 1), nodes: map[string]*node{}}
	s.turn <- struct{}{}
	return s
}

// node is two readings of one node; older is nil after one.
type node struct{ older, newer *reading }

// reading is what a kubelet said.
type reading struct {
	at   time.Time // when we had it
	Node figures
	Pods []struct {
		PodRef struct {
			Name, Namespace, UID string
		}
		Containers []container
	}
	byID map[id]*container
}

type id struct{ uid, container string }

type container struct {
	Name      string
	StartTime time.Time
	figures
}

// figures are the part of the Summary API that is looked at.
type figures struct {
	CPU *struct {
		Time                 time.Time
		UsageCoreNanoSeconds uint64
	}
	Memory *struct {
		WorkingSetBytes uint64
	}
}

// refresh takes readings if the last are not fresh. Those who come meanwhile wait for them.
func (s *Source) refresh(ctx context.Context) error {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.turn <- struct{}{} }()
	s.mu.Lock()
	fresh := time.Since(s.read) < freshFor
	s.mu.Unlock()
	if fresh {
		return nil
	}
	nodes := client.ListOf[core.Node](s.View, client.Select{})
	s.forget(nodes)
	alone := s.readAll(ctx, nodes)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(alone) > 0 {
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.readAll(ctx, alone); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	s.mu.Lock()
	s.read = time.Now()
	s.mu.Unlock()
	return nil
}

// forget drops nodes that are gone, and readings that are too old.
func (s *Source) forget(nodes []*core.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := map[string]bool{}
	for _, n := range nodes {
		there[n.Name] = true
	}
	for name, n := range s.nodes {
		if !there[name] || time.Since(n.newer.at) > usableFor {
			delete(s.nodes, name)
		}
	}
}

// readAll asks nodes and returns those that have one reading only.
func (s *Source) readAll(ctx context.Context, nodes []*core.Node) (alone []*core.Node) {
	var wg sync.WaitGroup
	limit := make(chan struct{}, atOnce)
	for _, n := range nodes {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			r, err := s.ask(ctx, n)
			s.mu.Lock()
			defer s.mu.Unlock()
			if ctx.Err() != nil {
				return // who asked has gone: that says nothing of the node
			}
			if err != nil {
				s.Log.Debug("read what a node uses", "node", n.Name, "err", err)
				delete(s.nodes, n.Name)
				return
			}
			if old := s.nodes[n.Name]; old != nil {
				s.nodes[n.Name] = &node{old.newer, r}
				return
			}
			s.nodes[n.Name] = &node{nil, r}
			alone = append(alone, n)
		})
	}
	wg.Wait()
	return alone
}

// maxSummary bounds what is read of one node.
const maxSummary = 32 << 20

func (s *Source) ask(ctx context.Context, n *core.Node) (*reading, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	body, err := s.Ask(ctx, n, "/stats/summary?only_cpu_and_memory=true")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r := &reading{at: time.Now(), byID: map[id]*container{}}
	if err := json.NewDecoder(io.LimitReader(body, maxSummary)).Decode(r); err != nil {
		return nil, err
	}
	for i := range r.Pods {
		p := &r.Pods[i]
		for k := range p.Containers {
			r.byID[id{p.PodRef.UID, p.Containers[k].Name}] = &p.Containers[k]
		}
	}
	return r, nil
}

// used is what was used between two readings; ok is false where one of them is missing.
func used(older, newer *figures, started time.Time) (usage core.ResourceList, at time.Time, window time.Duration, ok bool) {
	if newer.CPU == nil || newer.Memory == nil {
		return nil, at, 0, false
	}
	var before uint64
	from := started // of a container that is younger than the older reading
	if older != nil && older.CPU != nil && !started.After(older.CPU.Time) && older.CPU.UsageCoreNanoSeconds <= newer.CPU.UsageCoreNanoSeconds {
		before, from = older.CPU.UsageCoreNanoSeconds, older.CPU.Time
	}
	at = newer.CPU.Time
	if window = at.Sub(from); from.IsZero() || window <= 0 {
		return nil, at, 0, false
	}
	cores := float64(newer.CPU.UsageCoreNanoSeconds-before) / window.Seconds() // ns per s
	return core.ResourceList{
		core.ResourceCPU:    *resource.NewScaledQuantity(int64(cores), resource.Nano),
		core.ResourceMemory: *resource.NewQuantity(int64(newer.Memory.WorkingSetBytes), resource.BinarySI),
	}, at, window, true
}

// Nodes are the figures of all nodes, or of one.
func (s *Source) Nodes(ctx context.Context, _, name string) ([]object.Object, error) {
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []object.Object
	for _, n := range client.ListOf[core.Node](s.View, client.Select{}) {
		r := s.nodes[n.Name]
		if r == nil || r.older == nil || name != "" && n.Name != name {
			continue
		}
		usage, at, window, ok := used(&r.older.Node, &r.newer.Node, time.Time{})
		if !ok {
			continue
		}
		out = append(out, &metrics.NodeMetrics{
			ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels, CreationTimestamp: metav1.Now()},
			Timestamp:  metav1.NewTime(at), Window: metav1.Duration{Duration: window}, Usage: usage,
		})
	}
	return out, nil
}

// Pods are the figures of all pods, of a namespace, or of one.
func (s *Source) Pods(ctx context.Context, namespace, name string) ([]object.Object, error) {
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []object.Object
	for _, p := range client.ListOf[core.Pod](s.View, client.Select{Namespace: namespace}) {
		r := s.nodes[p.Spec.NodeName]
		if r == nil || p.Status.Phase != core.PodRunning || name != "" && p.Name != name {
			continue
		}
		if m := r.pod(p); m != nil {
			out = append(out, m)
		}
	}
	return out, nil
}

// pod is nil unless there are figures of every container that runs.
func (n *node) pod(p *core.Pod) *metrics.PodMetrics {
	m := &metrics.PodMetrics{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, CreationTimestamp: metav1.Now()}}
	for _, list := range [][]core.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			c := &list[i]
			if c.State.Running == nil {
				continue
			}
			key := id{string(p.UID), c.Name}
			newer := n.newer.byID[key]
			if newer == nil {
				return nil
			}
			var older *figures
			if n.older != nil && n.older.byID[key] != nil {
				older = &n.older.byID[key].figures
			}
			usage, at, window, ok := used(older, &newer.figures, newer.StartTime)
			if !ok {
				return nil
			}
			if m.Timestamp.IsZero() || at.Before(m.Timestamp.Time) {
				m.Timestamp, m.Window = metav1.NewTime(at), metav1.Duration{Duration: window}
			}
			m.Containers = append(m.Containers, metrics.ContainerMetrics{Name: c.Name, Usage: usage})
		}
	}
	if len(m.Containers) == 0 {
		return nil
	}
	return m
}
