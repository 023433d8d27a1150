package source

import (
	"context"
	"sync"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
	"proa.dev/object"
)

// Sink hears of pods.
type Sink interface {
	Set(pod *core.Pod)
	Gone(pod *core.Pod)  // with its last state
	Touch(uid types.UID) // an object that the pod uses changed
	Synced() error
}

// Pods follows the pods of one node.
type Pods struct {
	view client.View
	node string
	sink Sink

	mu   sync.Mutex // guards uses and used
	uses map[thing]map[types.UID]bool
	used map[types.UID]map[thing]bool
}

// thing is an object that pods use.
type thing struct{ kind, namespace, name string }

// New starts nothing.
func New(view client.View, node string, sink Sink) *Pods {
	return &Pods{view: view, node: node, sink: sink, uses: map[thing]map[types.UID]bool{}, used: map[types.UID]map[thing]bool{}}
}

// Run tells the sink of the node's pods until ctx ends.
func (p *Pods) Run(ctx context.Context) error {
	var failed error
	err := client.Watch(ctx, p.view, func(t client.EventType, now, old *core.Pod) {
		switch {
		case t == client.Synced:
			failed = p.sink.Synced()
		case status.MirrorOf(now) != "": // only shows what Static runs
		case t == client.Deleted && now.Spec.NodeName == p.node:
			p.forget(now.UID)
			p.sink.Gone(now)
		case t != client.Deleted && now.Spec.NodeName == p.node:
			if old != nil && old.UID != now.UID && old.Spec.NodeName == p.node {
				p.forget(old.UID)
				p.sink.Gone(old)
			}
			p.learn(now)
			p.sink.Set(now)
		}
	})
	if failed != nil && ctx.Err() == nil {
		return failed
	}
	return err
}

// learn notes what the pod uses.
func (p *Pods) learn(pod *core.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[pod.UID] != nil && len(pod.Spec.EphemeralContainers) == 0 { // the rest of a pod's references never changes
		return
	}
	mine := map[thing]bool{}
	for r := range spec.Refs(pod) {
		mine[thing{r.Kind, pod.Namespace, r.Name}] = true
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.PersistentVolumeClaim != nil {
			mine[thing{"Claim", pod.Namespace, v.PersistentVolumeClaim.ClaimName}] = true
		}
		if v.Ephemeral != nil {
			mine[thing{"Claim", pod.Namespace, pod.Name + "-" + v.Name}] = true
		}
	}
	p.used[pod.UID] = mine
	for t := range mine {
		if p.uses[t] == nil {
			p.uses[t] = map[types.UID]bool{}
		}
		p.uses[t][pod.UID] = true
	}
}

func (p *Pods) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.used[uid] {
		delete(p.uses[t], uid)
		if len(p.uses[t]) == 0 {
			delete(p.uses, t)
		}
	}
	delete(p.used, uid)
}

// Objects tells the sink of changes of the ConfigMaps, Secrets and claims that its pods use, until ctx ends.
func (p *Pods) Objects(ctx context.Context) error {
	var wg sync.WaitGroup
	carried := map[string]bool{}
	for _, r := range p.view.Resources() {
		carried[r.Kind] = true
	}
	wg.Go(func() { follow[core.ConfigMap](ctx, p, "ConfigMap", carried["ConfigMap"]) })
	wg.Go(func() { follow[core.Secret](ctx, p, "Secret", carried["Secret"]) })
	wg.Go(func() { follow[core.PersistentVolumeClaim](ctx, p, "Claim", carried["PersistentVolumeClaim"]) })
	wg.Wait()
	return ctx.Err()
}

// follow watches one kind. What exists at the start is told too: a pod may have looked just before a change that this watch begins with.
func follow[T any, P object.Ptr[T]](ctx context.Context, p *Pods, kind string, carried bool) {
	if !carried {
		<-ctx.Done()
		return
	}
	// The View carries the kind, so the only error is that of ctx.
	_ = client.Watch[T, P](ctx, p.view, func(t client.EventType, now, _ P) {
		if t == client.Synced {
			return
		}
		for _, uid := range p.users(thing{kind, now.GetNamespace(), now.GetName()}) {
			p.sink.Touch(uid)
		}
	})
}

func (p *Pods) users(t thing) []types.UID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []types.UID
	for uid := range p.uses[t] {
		out = append(out, uid)
	}
	return out
}
