package rest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/owners"
	"proa.dev/client"
	"proa.dev/object"
)

// newSub is the body that a POST to a subresource carries; nil if nothing can be posted there.
func newSub(s *Served, sub string) object.Object {
	var o object.Object
	switch s.Kind.Kind + "/" + sub {
	case "Pod/binding":
		o = &core.Binding{}
		o.GetObjectKind().SetGroupVersionKind(core.SchemeGroupVersion.WithKind("Binding"))
	case "Pod/eviction":
		o = &policy.Eviction{}
		o.GetObjectKind().SetGroupVersionKind(policy.SchemeGroupVersion.WithKind("Eviction"))
	case "ServiceAccount/token":
		o = &authentication.TokenRequest{}
		o.GetObjectKind().SetGroupVersionKind(authentication.SchemeGroupVersion.WithKind("TokenRequest"))
	}
	return o
}

// createSub posts o to a subresource.
func (a *API) createSub(ctx context.Context, s *Served, t client.Target, o object.Object, opt metav1.CreateOptions) (Answer, error) {
	if ns := o.GetNamespace(); ns != "" && ns != t.Namespace {
		return Answer{}, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if req, ok := o.(*authentication.TokenRequest); ok {
		if req.Spec.ExpirationSeconds == nil {
			req.Spec.ExpirationSeconds = new(int64(tokenSeconds))
		}
		fields, err := a.owners.Update(owners.Write{New: req, APIVersion: authentication.SchemeGroupVersion.String(), Subresource: t.Sub,
			Manager: manager(ctx, opt.FieldManager), Now: a.now()})
		if err != nil {
			return Answer{}, apierrors.NewInternalError(err)
		}
		req.ManagedFields = fields
	}
	r, err := a.admitBody(ctx, s, t, o, opt)
	if err != nil {
		return Answer{}, err
	}
	answer, err := Answer{}, error(apierrors.NewMethodNotSupported(s.group(), "create"))
	switch b := r.Object.(type) {
	case *core.Binding:
		answer, err = a.bind(ctx, s, t, b, r)
	case *policy.Eviction:
		answer, err = a.evict(ctx, s, t, b, r)
	case *authentication.TokenRequest:
		answer, err = a.token(ctx, s, t, b, r)
	}
	if err != nil || r.DryRun {
		r.Failed()
	}
	return answer, err
}

// checkTarget says whether b binds to what can be a node.
func checkTarget(b *core.Binding) error {
	target := field.NewPath("target")
	var errs field.ErrorList
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(target.Child("name"), ""))
	} else {
		for _, msg := range validation.NameIsDNSSubdomain(b.Target.Name, false) {
			errs = append(errs, field.Invalid(target.Child("name"), b.Target.Name, msg))
		}
	}
	if len(errs) > 0 {
		return bare(errs.ToAggregate())
	}
	return nil
}

// bind assigns a pod to a node.
func (a *API) bind(ctx context.Context, s *Served, t client.Target, b *core.Binding, r *admission.Request) (Answer, error) {
	if b.Name != t.Name {
		return Answer{}, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if err := checkTarget(b); err != nil {
		return Answer{}, err
	}
	if err := a.checkBody(ctx, r, b); err != nil {
		return Answer{}, err
	}
	refuse := func(format string, args ...any) error {
		res := s.group()
		res.Resource += "/binding"
		return apierrors.NewConflict(res, t.Name, fmt.Errorf(format, args...))
	}
	unmet := func(what string, want, got any) error {
		return unmetPrecondition(s, t.Key, r.DryRun, what, want, got)
	}
	pod := client.Target{Resource: t.Resource, Key: t.Key}
	_, err := a.do(ctx, s, change{target: pod, raw: true, admitted: true, tracked: true, options: metav1.UpdateOptions{DryRun: dryRun(r)}, next: func(_ context.Context, old *cache.Item) (object.Object, error) {
		p := old.Object.(*core.Pod)
		switch {
		case b.UID != "" && b.UID != p.UID:
			return nil, unmet("UID", b.UID, p.UID)
		case b.ResourceVersion != "" && b.ResourceVersion != p.ResourceVersion:
			return nil, unmet("ResourceVersion", b.ResourceVersion, p.ResourceVersion)
		case p.DeletionTimestamp != nil:
			return nil, refuse("pod %s is being deleted, cannot be assigned to a host", p.Name)
		case p.Spec.NodeName != "":
			return nil, refuse("pod %v is already assigned to node %q", p.Name, p.Spec.NodeName)
		case len(p.Spec.SchedulingGates) > 0:
			return nil, refuse("pod %v has non-empty .spec.schedulingGates", p.Name)
		}
		return bound(p, b), nil
	}})
	if err != nil {
		return Answer{}, err
	}
	return Answer{Other: created(), Created: true}, nil
}

// bound is p on the node that b names.
func bound(p *core.Pod, b *core.Binding) *core.Pod {
	// A shallow copy: the parts that change are replaced, not written to.
	n := *p
	n.ResourceVersion = ""
	n.Spec.NodeName = b.Target.Name
	n.Status.NominatedNodeName = ""
	if len(b.Annotations) > 0 {
		n.Annotations = maps.Clone(p.Annotations)
		if n.Annotations == nil {
			n.Annotations = map[string]string{}
		}
		maps.Copy(n.Annotations, b.Annotations)
	}
	if len(b.Labels) > 0 {
		n.Labels = maps.Clone(p.Labels)
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		maps.Copy(n.Labels, b.Labels)
	}
	now := metav1.Now()
	scheduled := core.PodCondition{Type: core.PodScheduled, Status: core.ConditionTrue, LastTransitionTime: now}
	n.Status.Conditions = nil
	for _, c := range p.Status.Conditions {
		if c.Type != core.PodScheduled {
			n.Status.Conditions = append(n.Status.Conditions, c)
		}
	}
	n.Status.Conditions = append(n.Status.Conditions, scheduled)
	return &n
}

// bare is a 500 that says no more than err does, as Kubernetes has it where nobody has given the error a reason.
func bare(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}}
}

// created is the Status that answers a POST which makes nothing to show.
func created() *metav1.Status {
	st := &metav1.Status{Status: metav1.StatusSuccess, Code: 201}
	st.SetGroupVersionKind(metav1.Unversioned.WithKind("Status"))
	return st
}

// finalizeOf is what next brings, with the status of old.
func finalizeOf(ctx context.Context, s *Served, next func(context.Context, *cache.Item) (object.Object, error), old *cache.Item) (object.Object, error) {
	o, err := next(ctx, old)
	if err != nil {
		return nil, err
	}
	s.Kind.Default(o)
	n, ok := o.(*core.Namespace)
	if ok {
		n.Status = old.Object.(*core.Namespace).DeepCopy().Status
	}
	return o, nil
}

// ephemeralOf is old with the ephemeral containers that next brings. Whether they may be so, the kind says.
func ephemeralOf(ctx context.Context, s *Served, next func(context.Context, *cache.Item) (object.Object, error), old *cache.Item) (object.Object, error) {
	o, err := next(ctx, old)
	if err != nil {
		return nil, err
	}
	s.Kind.Default(o)
	given, n := o.(*core.Pod), old.Object.DeepCopyObject().(*core.Pod)
	n.Name, n.Namespace, n.ResourceVersion, n.UID = given.Name, given.Namespace, given.ResourceVersion, given.UID
	n.ManagedFields, n.Spec.EphemeralContainers = given.ManagedFields, given.Spec.EphemeralContainers
	return n, nil
}

// resizeOf is old with the resources that next brings.
func resizeOf(ctx context.Context, s *Served, next func(context.Context, *cache.Item) (object.Object, error), old *cache.Item) (object.Object, error) {
	o, err := next(ctx, old)
	if err != nil {
		return nil, err
	}
	s.Kind.Default(o) // requests follow limits
	given, n := o.(*core.Pod), old.Object.DeepCopyObject().(*core.Pod)
	n.Name, n.Namespace, n.ResourceVersion, n.UID = given.Name, given.Namespace, given.ResourceVersion, given.UID
	n.ManagedFields = given.ManagedFields
	n.Spec.Containers = resized(given.Spec.Containers, n.Spec.Containers)
	n.Spec.InitContainers = resized(given.Spec.InitContainers, n.Spec.InitContainers)
	n.Spec.Resources = given.Spec.Resources
	return n, nil
}

// resized is old with the resources of given. Other containers than old's are left for validation to reject.
func resized(given, old []core.Container) []core.Container {
	if !slices.EqualFunc(given, old, func(a, b core.Container) bool { return a.Name == b.Name }) {
		return given
	}
	for i := range old {
		old[i].Resources, old[i].ResizePolicy = given[i].Resources, given[i].ResizePolicy
	}
	return old
}
