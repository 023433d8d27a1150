package remote

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// View keeps the objects of some resources of an API server.
type View struct {
	c       *Client
	log     *slog.Logger
	shelves map[client.Resource]*shelf
	order   []object.Resource
}

var _ client.View = (*View)(nil)

// NewView prepares copies of resources. Run fills them and keeps them up to date.
func NewView(c *Client, log *slog.Logger, resources ...object.Resource) *View {
	if log == nil {
		log = slog.Default()
	}
	v := &View{c: c, log: log, shelves: map[client.Resource]*shelf{}}
	for _, r := range resources {
		if v.shelves[r.GroupVersionResource] == nil {
			v.shelves[r.GroupVersionResource] = newShelf(r)
			v.order = append(v.order, r)
		}
	}
	slices.SortFunc(v.order, func(a, b object.Resource) int {
		return strings.Compare(a.GroupVersionResource.String(), b.GroupVersionResource.String())
	})
	return v
}

// Narrow has the view carry only those objects of a resource that the selectors take, as an agent does with the pods of its node. It
// must come before Run.
func (v *View) Narrow(r client.Resource, labels, fields string) {
	v.shelves[r].labels, v.shelves[r].fields = labels, fields
}

// Run follows the server until ctx ends. It never gives up: what does not work is logged once and tried again.
func (v *View) Run(ctx context.Context) error {
	parts := make([]run.Component, 0, len(v.order))
	for _, r := range v.order {
		s := v.shelves[r.GroupVersionResource]
		f := &reflector{
			c: v.c, log: v.log.With("resource", r.Resource), to: s, from: client.Target{Resource: r.GroupVersionResource}, labels: s.labels, fields: s.fields,
		}
		parts = append(parts, run.Component{Name: "watch " + r.Resource, Run: f.run})
	}
	return run.All(ctx, parts...)
}

// Synced waits until all resources have been read once.
func (v *View) Synced(ctx context.Context) error {
	for _, r := range v.order {
		select {
		case <-v.shelves[r.GroupVersionResource].synced:
		case <-ctx.Done():
			return fmt.Errorf("wait for the %s: %w", r.Resource, ctx.Err())
		}
	}
	return nil
}

// Resources implements client.View.
func (v *View) Resources() []object.Resource { return slices.Clone(v.order) }

// Lookup implements client.View.
func (v *View) Lookup(r client.Resource, key object.Key) (object.Object, bool) {
	s := v.shelves[r]
	if s == nil {
		return nil, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.objects[key]
	return o, ok
}

// List implements client.View.
func (v *View) List(r client.Resource, sel client.Select) []object.Object {
	s := v.shelves[r]
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.list(sel)
}

// Watch implements client.View.
func (v *View) Watch(ctx context.Context, r client.Resource, fn func(client.Event)) error {
	s := v.shelves[r]
	if s == nil {
		return fmt.Errorf("watch %s: the view does not carry it", r.Resource)
	}
	sub := &subscriber{wake: make(chan struct{}, 1)}
	s.subscribe(sub)
	defer s.unsubscribe(sub)
	for {
		for _, e := range sub.take() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fn(e)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.wake:
		}
	}
}

// shelf is the objects of one resource.
type shelf struct {
	res    object.Resource
	labels string // selectors of what is carried
	fields string
	synced chan struct{} // closed when all objects have been read once

	mu      sync.RWMutex // guards all below
	objects map[object.Key]object.Object
	owners  map[types.UID]map[object.Key]object.Object
	nodes   map[string]map[object.Key]object.Object
	subs    map[*subscriber]bool
}

// subscriber holds the events that a Watch has not yet taken.
type subscriber struct {
	wake chan struct{} // holds a token when there are events

	mu     sync.Mutex // guards events
	events []client.Event
}

func (s *subscriber) push(events ...client.Event) {
	s.mu.Lock()
	s.events = append(s.events, events...)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) take() []client.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.events
	s.events = nil
	return e
}

func newShelf(r object.Resource) *shelf {
	return &shelf{
		res: r, synced: make(chan struct{}), objects: map[object.Key]object.Object{},
		owners: map[types.UID]map[object.Key]object.Object{}, nodes: map[string]map[object.Key]object.Object{}, subs: map[*subscriber]bool{},
	}
}

func (s *shelf) isSynced() bool {
	select {
	case <-s.synced:
		return true
	default:
		return false
	}
}

func (s *shelf) subscribe(sub *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.list(client.Select{}) {
		sub.events = append(sub.events, client.Event{Type: client.Added, Object: o})
	}
	if s.isSynced() {
		sub.events = append(sub.events, client.Event{Type: client.Synced})
	}
	s.subs[sub] = true
}

func (s *shelf) unsubscribe(sub *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.subs, sub)
}

// list selects objects, in key order; the caller holds mu.
func (s *shelf) list(sel client.Select) []object.Object {
	from := s.objects
	switch {
	case sel.Owner != "":
		from = s.owners[sel.Owner]
	case sel.Node != "":
		from = s.nodes[sel.Node]
	}
	keys := make([]object.Key, 0, len(from))
	for k, o := range from {
		if sel.Namespace != "" && k.Namespace != sel.Namespace || sel.Node != "" && nodeOf(o) != sel.Node {
			continue
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	out := make([]object.Object, len(keys))
	for i, k := range keys {
		out[i] = from[k]
	}
	return out
}

func compareKeys(a, b object.Key) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func nodeOf(o object.Object) string {
	if p, ok := o.(*core.Pod); ok {
		return p.Spec.NodeName
	}
	return ""
}

// apply takes in one event of the server. An object that is older than the one there, by an event told twice, changes nothing.
func (s *shelf) apply(t client.EventType, o object.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.change(t, o); ok {
		s.tell(e)
	}
}

// change makes the change and says what subscribers hear; the caller holds mu.
func (s *shelf) change(t client.EventType, o object.Object) (client.Event, bool) {
	key := object.KeyOf(o)
	old, have := s.objects[key]
	switch {
	case t == client.Deleted && !have, have && t != client.Deleted && old.GetResourceVersion() == o.GetResourceVersion():
		return client.Event{}, false
	case t == client.Deleted:
		s.index(old, key, false)
		delete(s.objects, key)
		return client.Event{Type: client.Deleted, Object: o, Old: old}, true
	case have && old.GetUID() != o.GetUID():
		// Deleted and made again while we were not looking.
		s.index(old, key, false)
		s.tell(client.Event{Type: client.Deleted, Object: old, Old: old})
		have = false
	}
	if have {
		s.index(old, key, false)
	}
	s.objects[key] = o
	s.index(o, key, true)
	if have {
		return client.Event{Type: client.Modified, Object: o, Old: old}, true
	}
	return client.Event{Type: client.Added, Object: o}, true
}

// replace makes the shelf hold exactly these objects; subscribers hear of the difference.
func (s *shelf) replace(all map[object.Key]object.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.SortedFunc(maps.Keys(s.objects), compareKeys) {
		if _, ok := all[k]; !ok {
			if e, ok := s.change(client.Deleted, s.objects[k]); ok {
				s.tell(e)
			}
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(all), compareKeys) {
		if e, ok := s.change(client.Modified, all[k]); ok {
			s.tell(e)
		}
	}
	if !s.isSynced() {
		close(s.synced)
		s.tell(client.Event{Type: client.Synced})
	}
}

func (s *shelf) tell(e client.Event) {
	for sub := range s.subs {
		sub.push(e)
	}
}

func (s *shelf) index(o object.Object, key object.Key, in bool) {
	for _, ref := range o.GetOwnerReferences() {
		file(s.owners, ref.UID, key, o, in)
	}
	if n := nodeOf(o); n != "" {
		file(s.nodes, n, key, o, in)
	}
}

func file[K comparable](m map[K]map[object.Key]object.Object, k K, key object.Key, o object.Object, in bool) {
	if !in {
		delete(m[k], key)
		if len(m[k]) == 0 {
			delete(m, k)
		}
		return
	}
	if m[k] == nil {
		m[k] = map[object.Key]object.Object{}
	}
	m[k][key] = o
}
