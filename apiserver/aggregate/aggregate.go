package aggregate

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"

	core "k8s.io/api/core/v1"
	slices "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/kinds/apiregistration"
	"proa.dev/object"
)

// Config is what an Aggregator is made of.
type Config struct {
	// Certificate is the front proxy's, by which extension servers know this one; nil: none is shown.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Resolve finds an endpoint ("10.42.0.7:8443") of a service's port; nil: by the endpoint slices in the View.
	Resolve func(v client.View, service object.Key, port int32) (address string, err error)
	Log     *slog.Logger
}

// Aggregator knows who answers for which group version.
type Aggregator struct {
	config  Config
	list    atomic.Pointer[func() []*kinds.Kind] // what this server answers itself
	serving atomic.Pointer[map[schema.GroupVersion]*backend]
	merged  mergedDocs

	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed when Resources has something else to say
}

// New makes an Aggregator. It starts nothing; before Run nobody else serves anything.
func New(c Config) *Aggregator {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Resolve == nil {
		c.Resolve = resolve
	}
	return &Aggregator{config: c, changed: make(chan struct{})}
}

// Serving is who answers for a group version, or nil: this server itself.
func (a *Aggregator) Serving(group, version string) http.Handler {
	all := a.serving.Load()
	if all == nil {
		return nil
	}
	if b := (*all)[schema.GroupVersion{Group: group, Version: version}]; b != nil {
		return b
	}
	return nil
}

// backends are those of all group versions that others serve.
func (a *Aggregator) backends() map[schema.GroupVersion]*backend {
	if all := a.serving.Load(); all != nil {
		return *all
	}
	return nil
}

// follower is the state of one Run, used by one goroutine.
type follower struct {
	*Aggregator
	ctx      context.Context
	view     client.View
	client   client.Client
	wg       sync.WaitGroup // the goroutines of backends and of watches; Run waits for them
	byName   map[string]*backend
	watching context.CancelFunc // ends the watches of services; nil: there are none
}

// Run follows the APIServices until ctx ends. c must be allowed to write them.
func (a *Aggregator) Run(ctx context.Context, view client.View, c client.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{Aggregator: a, ctx: ctx, view: view, client: c, byName: map[string]*backend{}}
	defer f.wg.Wait()
	defer cancel()
	register := newRegistrar(a, view, c)
	f.wg.Go(func() { register.run(ctx) })
	return client.Watch(ctx, view, func(t client.EventType, s, _ *registration.APIService) {
		switch {
		case t == client.Synced:
			register.synced()
		case t == client.Deleted:
			register.changed(s)
			f.drop(s.Name)
		case s.Spec.Service == nil:
			register.changed(s)
			f.drop(s.Name)
		default:
			f.take(s)
		}
	})
}

// take learns of an APIService with a service.
func (f *follower) take(s *registration.APIService) {
	old := f.byName[s.Name]
	if old != nil && equality.Semantic.DeepEqual(old.service.Load().Spec, s.Spec) {
		old.learn(s)
		return
	}
	if old != nil {
		old.stop()
	}
	b := newBackend(f.Aggregator, f.view, s)
	f.byName[s.Name] = b
	f.publish()
	ctx, stop := context.WithCancel(f.ctx)
	b.stop = stop
	f.wg.Go(func() { b.keep(ctx, f.client) })
	if f.watching == nil {
		f.watch()
	}
}

func (f *follower) drop(name string) {
	b := f.byName[name]
	if b == nil {
		return
	}
	b.stop()
	delete(f.byName, name)
	f.publish()
	if len(f.byName) == 0 {
		f.watching()
		f.watching = nil
	}
}

// publish lets requests see byName.
func (f *follower) publish() {
	defer f.announce()
	if len(f.byName) == 0 {
		f.serving.Store(nil)
		return
	}
	all := make(map[schema.GroupVersion]*backend, len(f.byName))
	for b := range maps.Values(f.byName) {
		all[b.version] = b
	}
	f.serving.Store(&all)
}

// watch wakes the backends whose service or endpoints change. Nobody watches those while there is no backend.
func (f *follower) watch() {
	ctx, cancel := context.WithCancel(f.ctx)
	f.watching = cancel
	wake := func(key object.Key) {
		for _, b := range f.backends() {
			if b.at == key {
				b.wake()
			}
		}
	}
	f.wg.Go(func() {
		f.ended(ctx, client.Watch(ctx, f.view, func(_ client.EventType, s, _ *core.Service) {
			if s != nil {
				wake(object.KeyOf(s))
			}
		}))
	})
	f.wg.Go(func() {
		f.ended(ctx, client.Watch(ctx, f.view, func(_ client.EventType, s, _ *slices.EndpointSlice) {
			if s != nil {
				wake(object.Key{Namespace: s.Namespace, Name: s.Labels[slices.LabelServiceName]})
			}
		}))
	})
}

// ended logs the end of a watch that nobody has asked to end: the view does not carry what it needs.
func (f *follower) ended(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		f.config.Log.Error("aggregation does not see changes of services", "err", err)
	}
}

// isAvailable says what the status of an APIService says.
func isAvailable(s *registration.APIService) bool {
	c := apiregistration.Condition(s, registration.Available)
	return c != nil && c.Status == registration.ConditionTrue
}
