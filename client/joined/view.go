package joined

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/client"
	"proa.dev/client/remote"
	"proa.dev/object"
)

// Others tells what other servers serve.
type Others interface {
	// Resources are those whose objects can be listed, watched and deleted. unknown are the versions that cannot be asked now.
	Resources() (list []object.Resource, unknown []schema.GroupVersion)
	// Changed is closed when Resources has something else to say. Take it before Resources.
	Changed() <-chan struct{}
}

// Config is what a View is made of.
type Config struct {
	View   client.View
	Others Others
	// Connect is called once, when the others first have a resource.
	Connect func() (*remote.Client, error)
	Log     *slog.Logger
}

// View is a client.View with the resources of others. Run keeps it up to date.
type View struct {
	client.View
	config Config
	now    atomic.Pointer[state] // nil: there is nothing else
	bell   chan struct{}         // a part has been read

	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// state is what the others have now.
type state struct {
	parts   map[client.Resource]*part // that have been read
	unknown []schema.GroupVersion     // sorted
}

// part is one resource of another server.
type part struct {
	object.Resource
	view   *remote.View
	client *remote.Client
	read   chan struct{} // closed when all objects have been read
	ctx    context.Context
	stop   context.CancelFunc
}

var (
	_ client.View     = (*View)(nil)
	_ client.Changing = (*View)(nil)
	_ client.Partial  = (*View)(nil)
)

// New makes a View. It starts nothing; before Run it is c.View.
func New(c Config) *View {
	return &View{View: c.View, config: c, bell: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Run follows the others until ctx ends.
func (v *View) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var c *remote.Client
	running := map[object.Resource]*part{}
	for {
		here, there := client.Changed(v.View), v.config.Others.Changed()
		list, unknown := v.config.Others.Resources()
		if c == nil && len(list) > 0 {
			var err error
			if c, err = v.config.Connect(); err != nil {
				return fmt.Errorf("connect to our own API: %w", err)
			}
		}
		for r, p := range running {
			if !slices.Contains(list, r) {
				p.stop()
				delete(running, r)
			}
		}
		for _, r := range list {
			if running[r] == nil {
				running[r] = v.start(ctx, &wg, c, r)
			}
		}
		v.publish(running, unknown)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-here:
		case <-there:
		case <-v.bell:
		}
	}
}

// start begins to read a resource. wg has its goroutines.
func (v *View) start(ctx context.Context, wg *sync.WaitGroup, c *remote.Client, r object.Resource) *part {
	p := &part{Resource: r, view: remote.NewView(c, v.config.Log, r), client: c, read: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(ctx)
	wg.Go(func() { _ = p.view.Run(p.ctx) }) // it ends with the context alone
	wg.Go(func() {
		if p.view.Synced(p.ctx) != nil {
			return
		}
		close(p.read)
		select {
		case v.bell <- struct{}{}:
		default: // it rings already
		}
	})
	return p
}

// publish shows what has been read and tells those who wait for a change.
func (v *View) publish(running map[object.Resource]*part, unknown []schema.GroupVersion) {
	next := &state{parts: map[client.Resource]*part{}, unknown: slices.Clone(unknown)}
	for r, p := range running {
		select {
		case <-p.read:
			next.parts[r.GroupVersionResource] = p
		default:
			next.unknown = append(next.unknown, r.GroupVersion())
		}
	}
	slices.SortFunc(next.unknown, func(a, b schema.GroupVersion) int { return strings.Compare(a.String(), b.String()) })
	next.unknown = slices.Compact(next.unknown)
	if len(next.parts)+len(next.unknown) == 0 {
		next = nil
	}
	v.now.Store(next)
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.changed)
	v.changed = make(chan struct{})
}

// Changed implements client.Changing.
func (v *View) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// Unknown implements client.Partial.
func (v *View) Unknown() []schema.GroupVersion {
	if s := v.now.Load(); s != nil {
		return s.unknown
	}
	return nil
}

// part is where a resource of others is read, or nil.
func (v *View) part(r client.Resource) *part {
	if s := v.now.Load(); s != nil {
		return s.parts[r]
	}
	return nil
}

// Resources implements client.View.
func (v *View) Resources() []object.Resource {
	all := v.View.Resources()
	s := v.now.Load()
	if s == nil || len(s.parts) == 0 {
		return all
	}
	all = slices.Clone(all)
	for _, p := range s.parts {
		all = append(all, p.Resource)
	}
	slices.SortFunc(all, func(a, b object.Resource) int {
		return strings.Compare(a.GroupVersionResource.String(), b.GroupVersionResource.String())
	})
	return all
}

// Lookup implements client.View.
func (v *View) Lookup(r client.Resource, key object.Key) (object.Object, bool) {
	if p := v.part(r); p != nil {
		return p.view.Lookup(r, key)
	}
	return v.View.Lookup(r, key)
}

// List implements client.View.
func (v *View) List(r client.Resource, sel client.Select) []object.Object {
	if p := v.part(r); p != nil {
		return p.view.List(r, sel)
	}
	return v.View.List(r, sel)
}

// Watch implements client.View.
func (v *View) Watch(ctx context.Context, r client.Resource, fn func(client.Event)) error {
	p := v.part(r)
	if p == nil {
		err := v.View.Watch(ctx, r, fn)
		if err != nil && ctx.Err() == nil && !v.carries(r) {
			return fmt.Errorf("watch %s: %w", r, client.ErrGone) // it may have been theirs a moment ago
		}
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	err := p.view.Watch(inner, r, fn)
	if ctx.Err() == nil && p.ctx.Err() != nil {
		return fmt.Errorf("watch %s: %w", r, client.ErrGone)
	}
	return err
}

// carries says whether r is among what is served here.
func (v *View) carries(r client.Resource) bool {
	return slices.ContainsFunc(v.View.Resources(), func(have object.Resource) bool { return have.GroupVersionResource == r })
}
