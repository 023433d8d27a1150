package webhook

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/authz"
	calls "proa.dev/apiserver/webhook"
	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// The steps.
const (
	mutatingStep   = "MutatingAdmissionWebhook"
	validatingStep = "ValidatingAdmissionWebhook"
)

// plugin is both steps.
type plugin struct {
	view    client.View
	authz   authz.Authorizer
	log     *slog.Logger
	clients *calls.Clients
	meter   *admission.Meter

	mutating, validating source
}

// source is the hooks of one kind of configuration.
type source struct {
	known chan struct{} // closed when hooks is what the store has
	hooks atomic.Pointer[[]hook]
}

// New is the steps MutatingAdmissionWebhook and ValidatingAdmissionWebhook.
func New(d admission.Deps) (admission.Part, error) {
	p := &plugin{view: d.View, authz: d.Authz, log: d.Log, clients: calls.New(d.View), meter: d.Meter}
	if p.log == nil {
		p.log = slog.Default()
	}
	p.mutating.known, p.validating.known = make(chan struct{}), make(chan struct{})
	return admission.Part{
		Steps: []admission.Step{{Name: mutatingStep, Admit: p.admit}, {Name: validatingStep, Check: p.check}},
		Run: func(ctx context.Context) error {
			return run.All(ctx,
				run.Component{Name: mutatingStep, Run: func(ctx context.Context) error {
					return follow(ctx, p.view, &p.mutating, mutatingHooks)
				}},
				run.Component{Name: validatingStep, Run: func(ctx context.Context) error {
					return follow(ctx, p.view, &p.validating, validatingHooks)
				}})
		},
	}, nil
}

// follow keeps the hooks of s as the configurations say, in the order of their names.
func follow[T any, P object.Ptr[T]](ctx context.Context, view client.View, s *source, of func(P) []hook) error {
	if !slices.ContainsFunc(view.Resources(), func(r object.Resource) bool { return r.GroupVersionResource == object.ResourceOf[T, P]() }) {
		close(s.known) // there are none where the kind is not served
		<-ctx.Done()
		return ctx.Err()
	}
	var once sync.Once
	synced := false
	return client.Watch(ctx, view, func(t client.EventType, _, _ P) {
		if t == client.Synced {
			synced = true
		}
		if !synced {
			return
		}
		var hooks []hook
		for _, c := range client.ListOf[T, P](view, client.Select{}) { // in key order, which is that of names
			hooks = append(hooks, of(c)...)
		}
		s.hooks.Store(&hooks)
		once.Do(func() { close(s.known) })
	})
}

// list is the hooks; none before the store has been read would let through what they are to stop, so it waits.
func (s *source) list(ctx context.Context) ([]hook, error) {
	select {
	case <-s.known:
	default:
		select {
		case <-s.known:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if all := s.hooks.Load(); all != nil {
		return *all, nil
	}
	return nil, nil
}
