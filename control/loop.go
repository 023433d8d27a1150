package control

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/kit/queue"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Back-off of a key whose Reconcile failed.
const (
	minDelay = 5 * time.Millisecond
	maxDelay = 5 * time.Minute
)

// Loop drives one Reconciler: sources fill its queue, workers empty it.
type Loop struct {
	Name    string
	Do      Reconciler
	View    client.View
	Log     *slog.Logger
	Workers int      // keys worked on at the same time; 0 is 2
	Sources []Source // what wakes which keys
	// Settle holds a key back for so long after an event, so that a burst of events is one reconcile. 0 is at once.
	Settle time.Duration

	queue *queue.Queue[object.Key]
}

// Source says which keys an event of one resource wakes.
type Source struct {
	Resource client.Resource
	Keys     func(e client.Event, wake func(object.Key))
}

// Self wakes the objects of type T themselves.
func Self[T any, P object.Ptr[T]]() Source {
	return Source{object.ResourceOf[T, P](), func(e client.Event, wake func(object.Key)) { wake(object.KeyOf(e.Object)) }}
}

// ControlledBy wakes the controllers, of type O, of objects of type T, by owner reference: the one before and the one after a change.
func ControlledBy[T, O any, P object.Ptr[T], Q object.Ptr[O]]() Source {
	kind := object.KindOf(Q(new(O))).Kind
	return Source{object.ResourceOf[T, P](), func(e client.Event, wake func(object.Key)) {
		for _, o := range []object.Object{e.Object, e.Old} {
			if o == nil {
				continue
			}
			if ref := metav1.GetControllerOfNoCopy(o); ref != nil && ref.Kind == kind {
				wake(object.Key{Namespace: o.GetNamespace(), Name: ref.Name})
			}
		}
	}}
}

// On wakes what fn says for a change of an object of type T. old is nil where it is not known; for a deletion, now is the last state.
func On[T any, P object.Ptr[T]](fn func(now, old P, wake func(object.Key))) Source {
	return Source{object.ResourceOf[T, P](), func(e client.Event, wake func(object.Key)) {
		old, _ := e.Old.(P)
		fn(e.Object.(P), old, wake)
	}}
}

// Add makes a key due, from outside of the sources. It may be called once Run has begun.
func (l *Loop) Add(key object.Key) { l.queue.Add(key) }

// Run watches and works until ctx ends or a source fails. Work starts when all sources have told what exists.
func (l *Loop) Run(ctx context.Context) error {
	l.queue = queue.New[object.Key](minDelay, maxDelay)
	l.queue.Show(ctx, l.Name)
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
	if l.Workers == 0 {
		l.Workers = 2
	}
	var synced sync.WaitGroup // counted down once by each source
	var parts []run.Component
	for _, s := range l.Sources {
		synced.Add(1)
		parts = append(parts, run.Component{Name: "watch " + s.Resource.Resource, Run: func(ctx context.Context) error {
			return l.feed(ctx, s, synced.Done)
		}})
	}
	ready := make(chan struct{})
	go func() { synced.Wait(); close(ready) }() // ends when the feeds do, at the latest: see feed
	for range l.Workers {
		parts = append(parts, run.Component{Name: "worker", Run: func(ctx context.Context) error {
			select {
			case <-ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			for l.one(ctx) {
			}
			return ctx.Err()
		}})
	}
	if err := run.All(ctx, parts...); err != nil {
		return fmt.Errorf("%s: %w", l.Name, err)
	}
	return ctx.Err()
}

// feed turns the events of one source into keys.
func (l *Loop) feed(ctx context.Context, s Source, synced func()) error {
	once := sync.OnceFunc(synced)
	defer once()
	wake := func(k object.Key) { l.queue.AddAfter(k, l.Settle) }
	return l.View.Watch(ctx, s.Resource, func(e client.Event) {
		if e.Type == client.Synced {
			once()
			return
		}
		s.Keys(e, wake)
	})
}

// one works on one key; false means that ctx has ended.
func (l *Loop) one(ctx context.Context) bool {
	key, ok := l.queue.Next(ctx)
	if !ok {
		return false
	}
	defer l.queue.Done(key)
	again, err := l.reconcile(ctx, key)
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil:
		l.queue.Forget(key)
		if again != Done {
			l.queue.AddAfter(key, time.Duration(again))
		}
	case overtaken(err) && l.queue.Tries(key) < patience:
		l.queue.Retry(key) // somebody was faster: look again, nothing is wrong
	default:
		l.Log.Warn("reconcile", "ns", key.Namespace, "name", key.Name, "err", err, "tries", l.queue.Tries(key)+1)
		l.queue.Retry(key)
	}
	return true
}

// patience is how often in a row a key may be overtaken before that is worth a warning.
const patience = 10

// overtaken says whether a write failed because what it was about has changed, appeared or gone since it was read.
func overtaken(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// reconcile keeps a bug that one object brings out from stopping the work on all others.
func (l *Loop) reconcile(ctx context.Context, key object.Key) (again Again, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.Do.Reconcile(ctx, key)
}
