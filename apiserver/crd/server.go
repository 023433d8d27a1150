package crd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/apiserver/crd/custom"
	"proa.dev/apiserver/rest"
	"proa.dev/apiserver/webhook"
	"proa.dev/client"
	kind "proa.dev/kinds/apiextensions"
	"proa.dev/kit/queue"
	"proa.dev/object"
)

// Server serves custom kinds.
type Server struct {
	api   *rest.API
	view  client.View
	self  func() client.Client
	log   *slog.Logger
	hooks hooks
	queue *queue.Queue[string]
	ready chan struct{}

	served map[string]*shown // by the name of the definition; the loop's own
}

// shown is a definition as it is served.
type shown struct {
	uid     types.UID
	spec    *apiextensions.CustomResourceDefinitionSpec // frozen
	names   apiextensions.CustomResourceDefinitionNames
	closing bool
}

// New makes a Server. It starts nothing; self is called while Run runs.
func New(api *rest.API, view client.View, self func() client.Client, log *slog.Logger) *Server {
	return &Server{
		api: api, view: view, self: self, log: log, hooks: hooks{webhook.New(view)},
		queue: queue.New[string](50*time.Millisecond, 5*time.Second), ready: make(chan struct{}), served: map[string]*shown{},
	}
}

// Ready is closed when every definition that there was at the start has been looked at.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run works until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	synced := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if !s.first(ctx, synced) {
			return
		}
		close(s.ready)
		for s.one(ctx) {
		}
	})
	defer wg.Wait()
	defer stop()
	return client.Watch(ctx, s.view, func(t client.EventType, now, _ *apiextensions.CustomResourceDefinition) {
		if t == client.Synced {
			close(synced)
			return
		}
		s.queue.Add(now.Name)
	})
}

// first serves what is established already, and waits for nothing else: the server is not ready before.
func (s *Server) first(ctx context.Context, synced <-chan struct{}) bool {
	select {
	case <-synced:
	case <-ctx.Done():
		return false
	}
	for _, d := range client.ListOf[apiextensions.CustomResourceDefinition](s.view, client.Select{}) {
		if kind.True(d, apiextensions.Established) {
			if err := s.serve(ctx, d); err != nil {
				s.log.Error("serve a custom kind", "name", d.Name, "err", err)
			}
		}
	}
	return ctx.Err() == nil
}

// one looks at one definition.
func (s *Server) one(ctx context.Context) bool {
	name, ok := s.queue.Next(ctx)
	if !ok {
		return false
	}
	defer s.queue.Done(name)
	err := s.reconcile(ctx, name)
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil:
		s.queue.Forget(name)
	case apierrors.IsConflict(err), apierrors.IsNotFound(err): // it has changed: its event is under way
		s.queue.Retry(name)
	case errors.Is(err, errLeft):
		s.queue.Retry(name)
	default:
		s.log.Error("custom resource definition", "name", name, "err", err)
		s.queue.Retry(name)
	}
	return true
}

// reconcile brings what is served, and the status, to what the definition says. Safe to repeat.
func (s *Server) reconcile(ctx context.Context, name string) error {
	d, ok := client.Lookup[apiextensions.CustomResourceDefinition](s.view, object.Key{Name: name})
	if !ok || s.served[name] != nil && s.served[name].uid != d.UID {
		s.withdraw(name)
		s.wakeGroup(name)
		if !ok {
			return nil
		}
	}
	if d.DeletionTimestamp != nil {
		return s.end(ctx, d)
	}
	next := plan(d, s.group(d), time.Now())
	if kind.True(next, apiextensions.NamesAccepted) || kind.True(next, apiextensions.Established) {
		if err := s.serve(ctx, next); err != nil {
			return err
		}
	} else {
		s.withdraw(name)
	}
	if equality.Semantic.DeepEqual(next.Status, d.Status) {
		return nil
	}
	if _, err := client.UpdateStatus(ctx, s.self(), next); err != nil {
		return err
	}
	s.log.Info("custom kind", "name", name, "established", kind.True(next, apiextensions.Established))
	s.wakeGroup(name) // it may have let a name go
	return nil
}

// serve has the API serve d as it is now.
func (s *Server) serve(ctx context.Context, d *apiextensions.CustomResourceDefinition) error {
	want := &shown{d.UID, &d.Spec, d.Status.AcceptedNames, d.DeletionTimestamp != nil}
	have := s.served[d.Name]
	same := have != nil && equality.Semantic.DeepEqual(have.spec, want.spec) && equality.Semantic.DeepEqual(have.names, want.names)
	if same && have.closing == want.closing {
		return nil
	}
	if n := d.Status.AcceptedNames; n.Plural == "" || n.Singular == "" || n.Kind == "" || n.ListKind == "" {
		return fmt.Errorf("%s has no accepted names", d.Name)
	}
	stored, kinds, err := custom.Kinds(d, s.hooks, want.closing)
	if err != nil {
		return err
	}
	if same {
		s.api.Adjust(d.Name, kinds)
	} else if err := s.api.Serve(ctx, d.Name, stored, kinds); err != nil {
		return err
	}
	s.served[d.Name] = want
	return nil
}

func (s *Server) withdraw(name string) {
	if s.served[name] != nil {
		s.api.Withdraw(name)
		delete(s.served, name)
		s.log.Info("custom kind withdrawn", "name", name)
	}
}

// group is the other definitions of d's group.
func (s *Server) group(d *apiextensions.CustomResourceDefinition) (out []*apiextensions.CustomResourceDefinition) {
	for _, o := range client.ListOf[apiextensions.CustomResourceDefinition](s.view, client.Select{}) {
		if o.Spec.Group == d.Spec.Group && o.Name != d.Name {
			out = append(out, o)
		}
	}
	return out
}

// wakeGroup has the other definitions of a group looked at again: a name may have become free.
func (s *Server) wakeGroup(name string) {
	_, group, _ := strings.Cut(name, ".")
	for _, o := range client.ListOf[apiextensions.CustomResourceDefinition](s.view, client.Select{}) {
		if o.Spec.Group == group && o.Name != name {
			s.queue.Add(o.Name)
		}
	}
}

// hooks calls conversion webhooks.
type hooks struct{ clients *webhook.Clients }

// convertFor bounds one call.
const convertFor = 30 * time.Second

// Call implements custom.Caller.
func (h hooks) Call(ctx context.Context, c *apiextensions.WebhookClientConfig, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, convertFor)
	defer cancel()
	config := webhook.Config{CA: c.CABundle}
	if c.URL != nil {
		config.URL = *c.URL
	}
	if s := c.Service; s != nil {
		config.Service = &webhook.Service{Namespace: s.Namespace, Name: s.Name}
		if s.Path != nil {
			config.Service.Path = *s.Path
		}
		if s.Port != nil {
			config.Service.Port = *s.Port
		}
	}
	return h.clients.Post(ctx, config, body)
}
