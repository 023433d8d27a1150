package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/kit/queue"
	"proa.dev/kit/run"
	"proa.dev/object"
)

const (
	workers    = 32
	renewEvery = 10 * time.Second // of a lease, as a real node does
	leaseLife  = 40               // seconds
)

// Deps say what to play.
type Deps struct {
	Client client.Client
	View   client.View // of pods
	Nodes  int
	Prefix string            // of node names; "" is "sim-"
	Zones  int               // the nodes are spread over so many; 0 is 3
	Each   core.ResourceList // what a node has; nil is 32 CPUs, 256 GiB and 110 pods
	Leases bool              // renew leases: Nodes/10 writes per second, for when the node controller is at work
	Log    *slog.Logger      // nil is slog.Default()
}

// Sim is a number of hollow nodes.
type Sim struct {
	d     Deps
	pods  *queue.Queue[object.Key]
	ready chan struct{}

	mu   sync.Mutex // guards next
	next netip.Addr // of the next pod
}

// New prepares hollow nodes; Run makes them.
func New(d Deps) (*Sim, error) {
	if d.Client == nil || d.View == nil || d.Nodes <= 0 {
		return nil, errors.New("simulate nodes: no client, no view or no number of nodes")
	}
	if d.Prefix == "" {
		d.Prefix = "sim-"
	}
	if d.Zones <= 0 {
		d.Zones = 3
	}
	if d.Log == nil {
		d.Log = slog.Default()
	}
	if d.Each == nil {
		d.Each = core.ResourceList{
			core.ResourceCPU: resource.MustParse("32"), core.ResourceMemory: resource.MustParse("256Gi"),
			core.ResourcePods: resource.MustParse("110"),
		}
	}
	return &Sim{
		d: d, pods: queue.New[object.Key](100*time.Millisecond, 10*time.Second), ready: make(chan struct{}),
		next: netip.MustParseAddr("10.128.0.0"), // never routed: nothing listens behind these addresses
	}, nil
}

// Ready is closed when all nodes exist.
func (s *Sim) Ready() <-chan struct{} { return s.ready }

// Run makes the nodes and plays them until ctx ends. It leaves the objects behind.
func (s *Sim) Run(ctx context.Context) error {
	if err := s.each(ctx, s.createNode); err != nil {
		return err
	}
	close(s.ready)
	s.d.Log.Info("hollow nodes are there", "nodes", s.d.Nodes)
	parts := []run.Component{{Name: "watch pods", Run: s.follow}}
	if s.d.Leases {
		parts = append(parts, run.Component{Name: "leases", Run: s.renew})
	}
	for range workers {
		parts = append(parts, run.Component{Name: "pods", Run: s.work})
	}
	return run.All(ctx, parts...)
}

// each calls fn for every node, some at a time, and returns the first error.
func (s *Sim) each(ctx context.Context, fn func(context.Context, int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < s.d.Nodes && errs[w] == nil && ctx.Err() == nil; i += workers {
				errs[w] = fn(ctx, i)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(errs...)
}

func (s *Sim) name(i int) string { return fmt.Sprintf("%s%d", s.d.Prefix, i) }

func (s *Sim) createNode(ctx context.Context, i int) error {
	name := s.name(i)
	n := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		core.LabelHostname: name, core.LabelTopologyZone: fmt.Sprintf("zone-%d", i%s.d.Zones), core.LabelOSStable: "linux", "proa.dev/hollow": "true",
	}}}
	_, err := client.Create(ctx, s.d.Client, n)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make hollow node %s: %w", name, err)
	}
	// The status is written apart, as a node does: a create drops it.
	for {
		n, err = client.Get[core.Node](ctx, s.d.Client, object.Key{Name: name})
		if err == nil {
			n = object.Clone(n)
			s.setStatus(n)
			_, err = client.UpdateStatus(ctx, s.d.Client, n)
		}
		if !apierrors.IsConflict(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("report hollow node %s: %w", name, err)
	}
	if s.d.Leases {
		return s.lease(ctx, i)
	}
	return nil
}

func (s *Sim) setStatus(n *core.Node) {
	now := metav1.Now()
	n.Status.Capacity, n.Status.Allocatable = s.d.Each, s.d.Each
	n.Status.Conditions = []core.NodeCondition{{
		Type: core.NodeReady, Status: core.ConditionTrue, Reason: "KubeletReady", Message: "a hollow node is always ready",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}}
	n.Status.NodeInfo.OperatingSystem, n.Status.NodeInfo.Architecture, n.Status.NodeInfo.KubeletVersion = "linux", "amd64", "hollow"
}

// renew keeps the leases fresh, a tenth of them every tenth of renewEvery.
func (s *Sim) renew(ctx context.Context) error {
	tick := time.NewTicker(renewEvery / 10)
	defer tick.Stop()
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.each(ctx, func(ctx context.Context, i int) error {
			if i%10 != round%10 {
				return nil
			}
			return s.lease(ctx, i)
		})
		if err != nil && ctx.Err() == nil {
			s.d.Log.Warn("renew leases of hollow nodes", "err", err)
		}
	}
}

func (s *Sim) lease(ctx context.Context, i int) error {
	name, now, life := s.name(i), metav1.NowMicro(), int32(leaseLife)
	key := object.Key{Namespace: core.NamespaceNodeLease, Name: name}
	l, err := client.Get[coordination.Lease](ctx, s.d.Client, key)
	if apierrors.IsNotFound(err) {
		l = &coordination.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name}}
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &name, &life, &now
		_, err = client.Create(ctx, s.d.Client, l)
		return err
	}
	if err != nil {
		return err
	}
	l = object.Clone(l)
	l.Spec.RenewTime = &now
	_, err = client.Update(ctx, s.d.Client, l)
	return err
}

// follow queues the pods of hollow nodes that have something to be done.
func (s *Sim) follow(ctx context.Context) error {
	return client.Watch(ctx, s.d.View, func(t client.EventType, p, _ *core.Pod) {
		if p != nil && t != client.Deleted && s.due(p) {
			s.pods.Add(object.KeyOf(p))
		}
	})
}

// due says whether a pod has to be started or ended here.
func (s *Sim) due(p *core.Pod) bool {
	return strings.HasPrefix(p.Spec.NodeName, s.d.Prefix) && (p.DeletionTimestamp != nil || p.Status.Phase == core.PodPending || p.Status.Phase == "")
}

func (s *Sim) work(ctx context.Context) error {
	for {
		key, ok := s.pods.Next(ctx)
		if !ok {
			return nil
		}
		err := s.play(ctx, key)
		s.pods.Done(key)
		if err == nil || apierrors.IsNotFound(err) {
			s.pods.Forget(key)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		s.pods.Retry(key)
	}
}

// play starts or ends one pod.
func (s *Sim) play(ctx context.Context, key object.Key) error {
	p, ok := client.Lookup[core.Pod](s.d.View, key)
	if !ok || !s.due(p) {
		return nil
	}
	if p.DeletionTimestamp != nil {
		now := int64(0)
		return s.d.Client.Delete(ctx, client.TargetOf[core.Pod](key), metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.UID}})
	}
	p = object.Clone(p)
	s.start(p)
	_, err := client.UpdateStatus(ctx, s.d.Client, p)
	return err
}

// start writes the status of a pod whose containers all run.
func (s *Sim) start(p *core.Pod) {
	now := metav1.Now()
	s.mu.Lock()
	s.next = s.next.Next()
	ip := s.next.String()
	s.mu.Unlock()
	st := &p.Status
	st.Phase, st.StartTime, st.PodIP, st.PodIPs = core.PodRunning, &now, ip, []core.PodIP{{IP: ip}}
	for _, t := range []core.PodConditionType{core.PodInitialized, core.ContainersReady, core.PodReady} {
		c := core.PodCondition{Type: t, Status: core.ConditionTrue, LastTransitionTime: now}
		found := false
		for i := range st.Conditions {
			if st.Conditions[i].Type == t {
				st.Conditions[i], found = c, true
			}
		}
		if !found {
			st.Conditions = append(st.Conditions, c)
		}
	}
	yes := true
	st.ContainerStatuses = nil
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		st.ContainerStatuses = append(st.ContainerStatuses, core.ContainerStatus{
			Name: c.Name, Image: c.Image, Ready: true, Started: &yes, State: core.ContainerState{Running: &core.ContainerStateRunning{StartedAt: now}},
		})
	}
}
