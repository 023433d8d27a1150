package admission

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"golang.org/x/sync/errgroup"
	core "k8s.io/api/core/v1"

	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/object"
)

// Deps are what admission works with.
type Deps struct {
	View      client.View
	Authz     authz.Authorizer
	Ranges    []netip.Prefix // of service addresses, the first family first; none: services get no addresses
	NodePorts [2]int         // first and last; zero: 30000-32767
	Advertise netip.AddrPort // where the API server is reached; zero: no default/kubernetes service
	Log       *slog.Logger

	ClientCA, FrontProxyCA []byte // PEM; nil: not published
}

// Start is admission, and the objects that a cluster begins with.
type Start struct {
	deps      Deps
	view      client.View
	addresses *addresses
}

// New checks the ranges. It starts nothing.
func New(d Deps) (*Start, error) {
	if d.View == nil {
		return nil, errors.New("admission needs a view")
	}
	a, err := newAddresses(d)
	if err != nil {
		return nil, err
	}
	return &Start{deps: d, view: d.View, addresses: a}, nil
}

// Chain is the steps, in the order in which they run.
func (s *Start) Chain() Chain {
	return Chain{
		{Name: "NamespaceLifecycle", Admit: s.namespaceLifecycle},
		{Name: "NodeRestriction", Admit: s.nodeRestriction},
		{Name: "ServiceAccount", Admit: s.serviceAccount},
		{Name: "DefaultTolerationSeconds", Admit: tolerationSeconds},
		{Name: "Priority", Admit: s.priority},
		{Name: "DefaultStorageClass", Admit: s.defaultStorageClass},
		{Name: "RuntimeClass", Admit: s.runtimeClass, Check: s.runtimeOverhead},
		{Name: "ServiceAddresses", Admit: s.addresses.admit},
		{Name: "RoleEscalation", Check: s.roleEscalation},
	}
}

// Run keeps what services have in step with the services there are, until ctx ends.
func (s *Start) Run(ctx context.Context) error {
	if !carries(s.view, object.ResourceOf[core.Service]()) {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.addresses.follow(ctx, s.view)
}

// Namespaces makes the namespaces that every cluster has: before anything is made in them.
func (s *Start) Namespaces(ctx context.Context, c client.Client) error { return namespaces(ctx, c) }

// Begin makes the other objects that every cluster has.
func (s *Start) Begin(ctx context.Context, c client.Client) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return priorityClasses(ctx, c, s.view) })
	g.Go(func() error { return s.kubernetesService(ctx, c) })
	g.Go(func() error { return s.publishCAs(ctx, c) })
	return g.Wait()
}
