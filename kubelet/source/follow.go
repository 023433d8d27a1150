package source

import (
	"context"
	"sync"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// Follower follows objects of an API server, see remote.Client.Follow.
type Follower interface {
	Follow(ctx context.Context, r client.Resource, namespace, fields string, fn func(all []object.Object, err error)) error
}

// The kinds of things. Bundles are all ClusterTrustBundles, and PodRequests all PodCertificateRequests of the node.
const (
	configMap   = "ConfigMap"
	secret      = "Secret"
	claim       = "Claim"
	bundles     = "Bundles"
	podRequests = "PodRequests"
)

const (
	firstWithin = time.Second     // how long a reader waits for the first answer about what is followed
	idleAfter   = 5 * time.Minute // without a reader: what no volume shows is not followed then, until somebody reads it again
)

// followed is what pods need of what the View does not carry. Each thing is followed by one watch as long as a pod needs it, however many
// do. It is safe for concurrent use.
type followed struct {
	api     Follower
	node    string
	lazy    bool                                    // ConfigMaps and Secrets are not followed
	changed func(t thing, was, now []object.Object) // no lock is held

	mu      sync.Mutex // guards all below
	ctx     context.Context
	things  map[thing]*one
	refused map[string]bool // kinds that the server lets nobody follow
	wg      sync.WaitGroup
}

// one is a thing that pods need. What it points to is guarded by followed.mu.
type one struct {
	shown  bool               // by a volume: it is followed without rest
	stop   context.CancelFunc // nil: not followed now
	known  bool               // all is what there is, or was when it became immutable
	all    []object.Object
	first  chan struct{} // closed when known becomes true, or the server refuses
	read   time.Time     // when somebody last read it
	frozen bool          // it never changes again
}

func newFollowed(api Follower, node string, lazy bool) *followed {
	return &followed{api: api, node: node, lazy: lazy, changed: func(thing, []object.Object, []object.Object) {}, things: map[thing]*one{}, refused: map[string]bool{}}
}

// run follows what is needed until ctx ends.
func (f *followed) run(ctx context.Context) {
	f.mu.Lock()
	f.ctx = ctx
	for t, o := range f.things {
		f.start(t, o)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.wg.Wait()
}

// need says that a pod needs a thing, and whether a volume shows it.
func (f *followed) need(t thing, shown bool) {
	if f.lazy && (t.kind == configMap || t.kind == secret) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.things[t]
	if o == nil {
		o = &one{first: make(chan struct{})}
		f.things[t] = o
	}
	o.shown = o.shown || shown
	f.start(t, o)
}

// drop says that no pod needs it any more.
func (f *followed) drop(t thing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.things[t]; o != nil {
		f.end(o)
		delete(f.things, t)
	}
}

// start begins to follow a thing. f.mu is held.
func (f *followed) start(t thing, o *one) {
	if f.ctx == nil || f.ctx.Err() != nil || o.stop != nil || o.frozen {
		return
	}
	ctx, cancel := context.WithCancel(f.ctx)
	o.stop, o.read = cancel, time.Now()
	r, fields := f.which(t)
	f.wg.Go(func() {
		defer cancel()
		_ = f.api.Follow(ctx, r, t.namespace, fields, func(all []object.Object, err error) { f.take(ctx, t, o, all, err) }) // ends with ctx only
	})
	if !o.shown {
		f.rest(o, idleAfter)
	}
}

// end stops following. f.mu is held.
func (f *followed) end(o *one) {
	if o.stop != nil {
		o.stop()
		o.stop = nil
	}
}

// rest stops following what no volume shows and nobody has read for a while.
func (f *followed) rest(o *one, in time.Duration) {
	ctx := f.ctx
	time.AfterFunc(in, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if ctx.Err() != nil || o.shown || o.stop == nil {
			return
		}
		if left := idleAfter - time.Since(o.read); left > 0 {
			f.rest(o, left)
			return
		}
		f.end(o)
		if o.known {
			o.known, o.all, o.first = false, nil, make(chan struct{})
		}
	})
}

func (f *followed) which(t thing) (client.Resource, string) {
	name := "metadata.name=" + t.name
	switch t.kind {
	case configMap:
		return object.ResourceOf[core.ConfigMap](), name
	case secret:
		return object.ResourceOf[core.Secret](), name
	case claim:
		return object.ResourceOf[core.PersistentVolumeClaim](), name
	case bundles:
		return object.ResourceOf[certificates.ClusterTrustBundle](), ""
	}
	return object.ResourceOf[certificates.PodCertificateRequest](), "spec.nodeName=" + f.node
}

// take hears what there is of a thing.
func (f *followed) take(ctx context.Context, t thing, o *one, all []object.Object, err error) {
	f.mu.Lock()
	if ctx.Err() != nil { // nobody wants to know any more
		f.mu.Unlock()
		return
	}
	f.refused[t.kind] = err != nil
	was, news := o.all, err == nil
	o.known, o.all = news, all
	select {
	case <-o.first:
	default:
		close(o.first)
	}
	if news && len(all) == 1 && immutable(all[0]) {
		o.frozen = true
		f.end(o)
	}
	f.mu.Unlock()
	if news {
		f.changed(t, was, all)
	}
}

func immutable(o object.Object) bool {
	var yes *bool
	switch o := o.(type) {
	case *core.ConfigMap:
		yes = o.Immutable
	case *core.Secret:
		yes = o.Immutable
	}
	return yes != nil && *yes
}

// get is what there is of a thing; ok is false if that is not known, since no pod needs it, or the server does not say.
func (f *followed) get(t thing) (all []object.Object, ok bool) {
	f.mu.Lock()
	o := f.things[t]
	if o == nil || f.ctx == nil {
		f.mu.Unlock()
		return nil, false
	}
	o.read = time.Now()
	f.start(t, o)
	first, ctx := o.first, f.ctx
	f.mu.Unlock()
	wait := time.NewTimer(firstWithin)
	defer wait.Stop()
	select {
	case <-first:
	case <-wait.C:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return o.all, o.known
}

// follows says whether changes of things of a kind are told.
func (f *followed) follows(kind string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.refused[kind] && !(f.lazy && (kind == configMap || kind == secret))
}
