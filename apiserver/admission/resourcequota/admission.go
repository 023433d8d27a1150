package resourcequota

import (
	"context"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
	"proa.dev/kinds/core/quota"
	"proa.dev/object"
)

// limit bounds how long a write waits for its share.
const limit = 10 * time.Second

// Plugin is admission by quotas.
type Plugin struct {
	view client.View
	self func() client.Client

	mu      sync.Mutex           // guards waiting
	waiting map[string][]*charge // by namespace; a key that is there has a goroutine at work on it
}

// New makes the plugin. It starts nothing.
func New(d admission.Deps) (admission.Part, error) {
	p := &Plugin{view: d.View, self: d.Self, waiting: map[string][]*charge{}}
	return admission.Part{Steps: []admission.Step{{Name: "ResourceQuota", Check: p.check}}}, nil
}

// charge is one write that asks for its share.
type charge struct {
	request *admission.Request
	counter *quota.Counter
	usage   core.ResourceList // of the object as it is to be
	more    core.ResourceList // than the object has used so far
	free    bool              // nothing is to be taken: a dry run, or a create that cannot succeed

	open bool // some quota is to be changed for it
	err  error
	done chan struct{} // closed when err is final
}

func (p *Plugin) check(ctx context.Context, r *admission.Request) error {
	if r.Key.Namespace == "" || r.Op != admission.Create && r.Op != admission.Update || r.Kind.Virtual {
		return nil
	}
	group := r.Kind.GroupVersionResource.GroupResource()
	quotas := client.ListOf[core.ResourceQuota](p.view, client.Select{Namespace: r.Key.Namespace})
	if len(quotas) == 0 || quota.Ignored(group) {
		return nil
	}
	counter := quota.For(group)
	if !counter.Handles(quota.Change{Create: r.Op == admission.Create, Sub: r.Sub, Now: r.Object, Old: r.Old}) {
		return nil
	}
	counted := false
	for _, q := range quotas {
		counted = counted || len(counter.Names(q.Status.Hard)) > 0
	}
	if !counted {
		return nil
	}
	c := &charge{request: r, counter: counter, done: make(chan struct{}), free: r.DryRun}
	c.measure(time.Now())
	if r.Op == admission.Create {
		_, taken := p.view.Lookup(r.Kind.GroupVersionResource, r.Key)
		c.free = c.free || taken
	}
	p.enqueue(ctx, c)
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// measure fills in what the object uses.
func (c *charge) measure(now time.Time) {
	r := c.request
	c.usage = c.counter.Usage(r.Object, now)
	c.more = c.usage
	if r.Op == admission.Update {
		c.more = quota.More(c.usage, c.counter.Usage(r.Old, now))
	}
}

// enqueue puts c in the line of its namespace. Who finds the line empty starts the goroutine that serves it; those who wait in line wait
// for it.
func (p *Plugin) enqueue(ctx context.Context, c *charge) {
	ns := c.request.Key.Namespace
	p.mu.Lock()
	defer p.mu.Unlock()
	line, busy := p.waiting[ns]
	p.waiting[ns] = append(line, c)
	if !busy {
		go p.serve(context.WithoutCancel(ctx), ns)
	}
}

// serve answers the line of a namespace until it is empty.
func (p *Plugin) serve(ctx context.Context, ns string) {
	for {
		p.mu.Lock()
		batch := p.waiting[ns]
		if len(batch) == 0 {
			delete(p.waiting, ns)
			p.mu.Unlock()
			return
		}
		p.waiting[ns] = nil
		p.mu.Unlock()
		p.settle(ctx, ns, batch)
		for _, c := range batch {
			close(c.done)
		}
	}
}

// tries bounds how often the quotas of a batch are written anew because somebody else was faster.
const tries = 8

// settle decides on a batch and takes its shares. A quota that lost a race is looked at again; those that were written are not.
func (p *Plugin) settle(ctx context.Context, ns string, batch []*charge) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, c := range batch {
		c.open = true
	}
	written := map[string]bool{}
	for try := 1; ; try++ {
		var quotas []*account
		for _, q := range client.ListOf[core.ResourceQuota](p.view, client.Select{Namespace: ns}) {
			if !written[q.Name] {
				quotas = append(quotas, &account{quota: q, used: q.Status.Used})
			}
		}
		for _, c := range batch {
			if c.open {
				c.open, c.err = c.fit(quotas)
			}
		}
		lost := p.write(ctx, quotas, written)
		if lost == nil {
			return
		}
		if try == tries || !apierrors.IsConflict(lost) && !apierrors.IsNotFound(lost) {
			for _, c := range batch {
				if c.open {
					c.err = lost
				}
			}
			return
		}
	}
}

// account is a quota and what will be used of it.
type account struct {
	quota *core.ResourceQuota // frozen
	used  core.ResourceList   // replaced, not written to
	moved bool
}

// write stores what has changed, notes what was written, and returns the last error.
func (p *Plugin) write(ctx context.Context, accounts []*account, written map[string]bool) (lost error) {
	for _, a := range accounts {
		if !a.moved {
			continue
		}
		q := object.Clone(a.quota)
		q.Status.Used = a.used
		if _, err := client.UpdateStatus(ctx, p.self(), q); err != nil {
			lost = err
			continue
		}
		written[q.Name] = true
	}
	return lost
}

// fit takes the share of c from every quota that counts it, or says why it does not fit. open says that quotas have to be written first.
func (c *charge) fit(accounts []*account) (open bool, err error) {
	var asked []core.ResourceList
	var from []*account
	for _, a := range accounts {
		names := c.counter.Names(a.quota.Status.Hard)
		if len(names) == 0 || !c.counter.InScope(&a.quota.Spec, c.request.Object) {
			continue
		}
		if err := c.counter.Require(names, c.request.Object); err != nil {
			return false, c.request.Forbid("failed quota: %s: %v", a.quota.Name, err)
		}
		for _, n := range names {
			if _, ok := a.quota.Status.Used[n]; !ok {
				return false, c.request.Forbid("status unknown for quota: %s, resources: %s", a.quota.Name, join(names))
			}
		}
		share := c.usage
		if c.request.Op == admission.Update && c.counter.InScope(&a.quota.Spec, c.request.Old) {
			share = c.more
		}
		if share = quota.More(quota.Mask(share, names), nil); len(share) > 0 {
			asked, from = append(asked, share), append(from, a)
		}
	}
	for i, a := range from {
		if err := c.over(a, asked[i]); err != nil {
			return false, err
		}
	}
	if c.free {
		return false, nil
	}
	for i, a := range from {
		a.used, a.moved = quota.Add(a.used, asked[i]), true
	}
	return len(from) > 0, nil
}

// over refuses a share that a quota has not left. What a status says has happened already.
func (c *charge) over(a *account, share core.ResourceList) error {
	if c.request.Sub == "status" {
		return nil
	}
	var names []core.ResourceName
	for n, q := range share {
		sum, hard := a.used[n].DeepCopy(), a.quota.Status.Hard[n]
		if sum.Add(q); sum.Cmp(hard) > 0 {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return c.request.Forbid("exceeded quota: %s, requested: %s, used: %s, limited: %s", a.quota.Name, quota.Text(quota.Mask(share, names)),
		quota.Text(quota.Mask(a.used, names)), quota.Text(quota.Mask(a.quota.Status.Hard, names)))
}

func join(names []core.ResourceName) string {
	text := make([]string, len(names))
	for i, n := range names {
		text[i] = string(n)
	}
	return strings.Join(text, ",")
}
