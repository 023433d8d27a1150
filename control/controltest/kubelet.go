package controltest

import (
	"context"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// Kubelet stands in for a scheduler and a kubelet, inside synctest: it gives pods a node, makes them Running and Ready a Delay after they
// were created, unless Sick says otherwise, and lets them go a Delay after they were deleted.
type Kubelet struct {
	API   *API
	Delay time.Duration
	Sick  func(p *core.Pod) bool                // nil: none is
	Node  func(p *core.Pod) string              // nil: "n1"
	Seen  func(e client.EventType, p *core.Pod) // told of every event of a pod; may be nil

	mu sync.Mutex // guards the order of its own writes
}

// Run works until ctx ends.
func (k *Kubelet) Run(ctx context.Context) error {
	return client.Watch[core.Pod](ctx, k.API.View(), func(e client.EventType, p, old *core.Pod) {
		if p == nil {
			return
		}
		if k.Seen != nil {
			k.Seen(e, p)
		}
		switch {
		case e == client.Added && p.DeletionTimestamp == nil && p.Status.Phase == "":
			k.place(p)
			time.AfterFunc(k.Delay, func() { k.ready(p) })
		case e == client.Modified && p.DeletionTimestamp != nil && (old == nil || old.DeletionTimestamp == nil):
			time.AfterFunc(k.Delay, func() { k.end(p) })
		}
	})
}

// change writes what fn makes of the pod as it is now, if it still is there.
func (k *Kubelet) change(p *core.Pod, fn func(*core.Pod) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, ok := client.Lookup[core.Pod](k.API.View(), object.KeyOf(p))
	if !ok || now.UID != p.UID {
		return
	}
	n := object.Clone(now)
	if fn(n) {
		k.API.Put(n)
	}
}

func (k *Kubelet) place(p *core.Pod) {
	k.change(p, func(n *core.Pod) bool {
		n.Spec.NodeName, n.Status.Phase = "n1", core.PodPending
		if k.Node != nil {
			n.Spec.NodeName = k.Node(p)
		}
		return true
	})
}

func (k *Kubelet) ready(p *core.Pod) {
	k.change(p, func(n *core.Pod) bool {
		if n.DeletionTimestamp != nil || k.Sick != nil && k.Sick(n) || n.Status.Phase != core.PodPending {
			return false
		}
		n.Status.Phase = core.PodRunning
		n.Status.StartTime = new(metav1.Now())
		n.Status.Conditions = []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue, LastTransitionTime: metav1.Now()}}
		return true
	})
}

// end lets a deleted pod go, or only its grace if a finalizer holds it.
func (k *Kubelet) end(p *core.Pod) {
	k.change(p, func(n *core.Pod) bool {
		if len(n.Finalizers) == 0 {
			k.API.Remove(n)
			return false
		}
		n.DeletionGracePeriodSeconds = new(int64)
		if n.Status.Phase == core.PodRunning || n.Status.Phase == core.PodPending {
			n.Status.Phase = core.PodFailed
		}
		return true
	})
}
