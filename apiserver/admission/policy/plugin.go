package policy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	registration "k8s.io/api/admissionregistration/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// The names of the steps.
const (
	mutatingStep   = "MutatingAdmissionPolicy"
	validatingStep = "ValidatingAdmissionPolicy"
)

// plugin is admission by policies.
type plugin struct {
	deps admission.Deps
	view client.View

	now     atomic.Pointer[index]
	mu      sync.Mutex // guards programs, and that the newest index is the one that stays
	program programs
}

// New makes the steps of admission by policies.
func New(d admission.Deps) (admission.Part, error) {
	p := &plugin{deps: d, view: d.View, program: programs{}}
	return admission.Part{
		Steps: []admission.Step{{Name: mutatingStep, Admit: p.admit}, {Name: validatingStep, Check: p.check}},
		Run:   p.run,
	}, nil
}

// run keeps the index in step with the policies and bindings there are.
func (p *plugin) run(ctx context.Context) error {
	var parts []run.Component
	for _, r := range []client.Resource{
		object.ResourceOf[registration.ValidatingAdmissionPolicy](), object.ResourceOf[registration.ValidatingAdmissionPolicyBinding](),
		object.ResourceOf[registration.MutatingAdmissionPolicy](), object.ResourceOf[registration.MutatingAdmissionPolicyBinding](),
	} {
		if slices.ContainsFunc(p.view.Resources(), func(have object.Resource) bool { return have.GroupVersionResource == r }) {
			parts = append(parts, run.Component{Name: r.Resource, Run: func(ctx context.Context) error { return p.follow(ctx, r) }})
		}
	}
	if parts == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return run.All(ctx, parts...)
}

func (p *plugin) follow(ctx context.Context, r client.Resource) error {
	synced := false
	return p.view.Watch(ctx, r, func(e client.Event) {
		if e.Type == client.Synced {
			synced = true
		}
		if synced {
			p.refresh()
		}
	})
}

// refresh makes the index anew.
func (p *plugin) refresh() *index {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.program.index(p.view)
	p.now.Store(i)
	return i
}

// index is what policies there are. The first request of all may come before those have been told of.
func (p *plugin) index() *index {
	if i := p.now.Load(); i != nil {
		return i
	}
	return p.refresh()
}

// exempt says whether no policy sees the request: admission itself, and questions about who may do what.
func exempt(r *admission.Request) bool {
	g := r.Kind.Group
	return rules.Exempt(r) || r.Kind.Virtual && (g == authentication.GroupName || g == authorization.GroupName)
}

// namespace is what expressions see as namespaceObject: nil where the request is about none.
func (p *plugin) namespace(r *admission.Request) (*core.Namespace, error) {
	if r.OfNamespaces() || r.Key.Namespace == "" {
		return nil, nil
	}
	ns, ok := client.Lookup[core.Namespace](p.view, object.Key{Name: r.Key.Namespace})
	if !ok {
		return nil, apierrors.NewNotFound(object.ResourceOf[core.Namespace]().GroupResource(), r.Key.Namespace)
	}
	shown := *ns
	shown.ManagedFields, shown.OwnerReferences, shown.SelfLink = nil, nil, ""
	return &shown, nil
}

// misconfigured words what is wrong with a policy, or with a binding of it.
func misconfigured(b *binding, err error) error {
	if b == nil {
		return fmt.Errorf("failed to configure policy: %w", err)
	}
	return fmt.Errorf("failed to configure binding: %w", err)
}
