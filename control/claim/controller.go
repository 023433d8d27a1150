package claim

import (
	"context"
	"slices"
	"sync"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Controller is the one of claims and of pods that have some.
type Controller struct {
	deps control.Deps

	mu    sync.Mutex                         // guards users
	users map[object.Key]map[object.Key]bool // pods by what they name: the key of a claim, or of a template with a slash at the end
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, users: map[object.Key]map[object.Key]bool{}}, nil
}

// Run works until ctx ends. Without the API group there is nothing to do.
func (c *Controller) Run(ctx context.Context) error {
	claims := object.ResourceOf[resource.ResourceClaim]()
	if !slices.ContainsFunc(c.deps.View.Resources(), func(have object.Resource) bool { return have.GroupVersionResource == claims }) {
		<-ctx.Done()
		return ctx.Err()
	}
	loops := []*control.Loop{
		{Name: "resourceclaim", Do: reconciler(c.claim), Sources: []control.Source{control.Self[resource.ResourceClaim](), control.On(c.claimsOf)}},
		{Name: "resourceclaim-pod", Do: reconciler(c.pod), Sources: []control.Source{
			{Resource: object.ResourceOf[core.Pod](), Keys: c.podEvent}, control.On(c.usersOf), control.On(c.waitersFor)}},
	}
	var parts []run.Component
	for _, l := range loops {
		l.View, l.Log = c.deps.View, c.deps.Logger(l.Name)
		parts = append(parts, run.Component{Name: l.Name, Run: l.Run})
	}
	return run.All(ctx, parts...)
}

type reconciler func(context.Context, object.Key) (control.Again, error)

// Reconcile implements control.Reconciler.
func (r reconciler) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	return r(ctx, key)
}

// claimsOf wakes the claims of a pod that may need them no more.
func (c *Controller) claimsOf(p, _ *core.Pod, wake func(object.Key)) {
	if len(p.Spec.ResourceClaims) == 0 && p.Status.ExtendedResourceClaimStatus == nil {
		return
	}
	if now, ok := client.Lookup[core.Pod](c.deps.View, object.KeyOf(p)); ok && now.UID == p.UID && !over(now) {
		return
	}
	for name := range resourceclaim.PodClaims(p) {
		wake(object.Key{Namespace: p.Namespace, Name: name})
	}
}

// over says whether a pod needs its claims no more.
func over(p *core.Pod) bool {
	return p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed || p.DeletionTimestamp != nil && p.Spec.NodeName == ""
}

// podEvent wakes a pod that has claims, and keeps in mind what it names.
func (c *Controller) podEvent(e client.Event, wake func(object.Key)) {
	p := e.Object.(*core.Pod)
	if len(p.Spec.ResourceClaims) == 0 {
		return
	}
	key := object.KeyOf(p)
	c.mu.Lock()
	for _, k := range names(p) {
		switch {
		case e.Type != client.Deleted && c.users[k] == nil:
			c.users[k] = map[object.Key]bool{key: true}
		case e.Type != client.Deleted:
			c.users[k][key] = true
		default:
			delete(c.users[k], key)
			if len(c.users[k]) == 0 {
				delete(c.users, k)
			}
		}
	}
	c.mu.Unlock()
	if e.Type != client.Deleted {
		wake(key)
	}
}

// names are the claims and templates that a pod names.
func names(p *core.Pod) (out []object.Key) {
	for i := range p.Spec.ResourceClaims {
		if t := p.Spec.ResourceClaims[i].ResourceClaimTemplateName; t != nil {
			out = append(out, object.Key{Namespace: p.Namespace, Name: *t + "/"})
		}
	}
	for name := range resourceclaim.PodClaims(p) {
		out = append(out, object.Key{Namespace: p.Namespace, Name: name})
	}
	return out
}

func (c *Controller) usersOf(claim, _ *resource.ResourceClaim, wake func(object.Key)) {
	c.wakeUsers(object.KeyOf(claim), wake)
}

func (c *Controller) waitersFor(t, _ *resource.ResourceClaimTemplate, wake func(object.Key)) {
	c.wakeUsers(object.Key{Namespace: t.Namespace, Name: t.Name + "/"}, wake)
}

func (c *Controller) wakeUsers(k object.Key, wake func(object.Key)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for pod := range c.users[k] {
		wake(pod)
	}
}
