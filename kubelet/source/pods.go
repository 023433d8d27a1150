package source

import (
	"context"
	"sync"

	certificates "k8s.io/api/certificates/v1"
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
	view    client.View
	node    string
	objects *Objects
	sink    Sink

	mu   sync.Mutex // guards uses and used
	uses map[thing]map[types.UID]bool
	used map[types.UID]map[thing]bool
}

// thing is an object that pods use.
type thing struct{ kind, namespace, name string }

// New starts nothing.
func New(view client.View, node string, objects *Objects, sink Sink) *Pods {
	p := &Pods{view: view, node: node, objects: objects, sink: sink, uses: map[thing]map[types.UID]bool{}, used: map[types.UID]map[thing]bool{}}
	if objects.followed != nil {
		objects.followed.changed = p.changed
	}
	return p
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
			if phase := now.Status.Phase; phase == core.PodSucceeded || phase == core.PodFailed {
				p.forget(now.UID) // it needs nothing any more
			} else {
				p.learn(now)
			}
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
	mine := needs(pod)
	p.used[pod.UID] = mine
	for t, shown := range mine {
		if p.uses[t] == nil {
			p.uses[t] = map[types.UID]bool{}
		}
		p.uses[t][pod.UID] = true
		if f := p.objects.followed; f != nil {
			f.need(t, shown)
		}
	}
}

// needs is what a pod uses, and whether volumes show it.
func needs(pod *core.Pod) map[thing]bool {
	mine := map[thing]bool{}
	for r, shown := range spec.Refs(pod) {
		mine[thing{r.Kind, pod.Namespace, r.Name}] = shown
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			mine[thing{claim, pod.Namespace, v.PersistentVolumeClaim.ClaimName}] = true
		case v.Ephemeral != nil:
			mine[thing{claim, pod.Namespace, pod.Name + "-" + v.Name}] = true
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ClusterTrustBundle != nil {
					mine[thing{kind: bundles}] = true
				}
				if s.PodCertificate != nil {
					mine[thing{kind: podRequests}] = true
				}
			}
		}
	}
	return mine
}

func (p *Pods) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.used[uid] {
		delete(p.uses[t], uid)
		if len(p.uses[t]) == 0 {
			delete(p.uses, t)
			p.unused(t)
		}
	}
	delete(p.used, uid)
}

// unused tells that no pod uses a thing any more.
func (p *Pods) unused(t thing) {
	f := p.objects.followed
	if f == nil {
		return
	}
	f.drop(t)
	if t.kind == claim {
		p.objects.volumes.forget()
	}
}

// Objects tells the sink of changes of what its pods use, until ctx ends: what the View carries by the View's word, the rest as it is
// followed. What nobody follows is read again by those who use it.
func (p *Pods) Objects(ctx context.Context) error {
	var wg sync.WaitGroup
	if f := p.objects.followed; f != nil {
		wg.Go(func() { f.run(ctx) })
	}
	wg.Go(func() { follow(ctx, p, users[*core.ConfigMap](p, configMap)) })
	wg.Go(func() { follow(ctx, p, users[*core.Secret](p, secret)) })
	wg.Go(func() { follow(ctx, p, users[*core.PersistentVolumeClaim](p, claim)) })
	wg.Go(func() {
		follow(ctx, p, func(*certificates.ClusterTrustBundle) []types.UID { return p.usersOf(thing{kind: bundles}) })
	})
	wg.Go(func() {
		follow(ctx, p, func(r *certificates.PodCertificateRequest) []types.UID { return []types.UID{r.Spec.PodUID} })
	})
	<-ctx.Done()
	wg.Wait()
	return ctx.Err()
}

// follow watches one kind that the View carries. What exists at the start is told too: a pod may have looked just before a change that this
// watch begins with.
func follow[T any, P object.Ptr[T]](ctx context.Context, p *Pods, who func(P) []types.UID) {
	if !p.objects.carries(object.ResourceOf[T, P]()) {
		return
	}
	// The View carries the kind, so the only error is that of ctx.
	_ = client.Watch[T, P](ctx, p.view, func(t client.EventType, now, _ P) {
		if t != client.Synced {
			p.touch(who(now))
		}
	})
}

// changed hears of what is followed.
func (p *Pods) changed(t thing, was, now []object.Object) {
	if t.kind == claim {
		p.objects.volumes.forget()
	}
	if t.kind != podRequests {
		p.touch(p.usersOf(t))
		return
	}
	before := make(map[types.UID]string, len(was))
	for _, r := range was {
		before[r.GetUID()] = r.GetResourceVersion()
	}
	touch := func(r object.Object) { p.sink.Touch(r.(*certificates.PodCertificateRequest).Spec.PodUID) }
	for _, r := range now {
		if before[r.GetUID()] != r.GetResourceVersion() {
			touch(r)
		}
		delete(before, r.GetUID())
	}
	for _, r := range was {
		if _, gone := before[r.GetUID()]; gone {
			touch(r)
		}
	}
}

func (p *Pods) touch(pods []types.UID) {
	for _, uid := range pods {
		p.sink.Touch(uid)
	}
}

// users finds who uses an object of a kind.
func users[P object.Object](p *Pods, kind string) func(P) []types.UID {
	return func(o P) []types.UID { return p.usersOf(thing{kind, o.GetNamespace(), o.GetName()}) }
}

func (p *Pods) usersOf(t thing) []types.UID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []types.UID
	for uid := range p.uses[t] {
		out = append(out, uid)
	}
	return out
}
