package policy

import (
	"context"
	"fmt"
	"slices"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/object"
)

// mayReadParams refuses policies and bindings that name parameters which their author may not read: what expressions say of a parameter
// would tell him.
func (p *plugin) mayReadParams(ctx context.Context, r *admission.Request) error {
	if r.Sub != "" || r.Op != admission.Create && r.Op != admission.Update || slices.Contains(r.User.Groups, authn.Masters) {
		return nil
	}
	var err error
	at := field.NewPath("spec", "paramRef")
	switch o := r.Object.(type) {
	case *registration.ValidatingAdmissionPolicy:
		old, _ := r.Old.(*registration.ValidatingAdmissionPolicy)
		at = field.NewPath("spec", "paramKind")
		if k := o.Spec.ParamKind; k != nil && (old == nil || !equality.Semantic.DeepEqual(old.Spec.ParamKind, k)) {
			err = p.mayReadKind(ctx, r.User, k)
		}
	case *registration.MutatingAdmissionPolicy:
		old, _ := r.Old.(*registration.MutatingAdmissionPolicy)
		at = field.NewPath("spec", "paramKind")
		if k := o.Spec.ParamKind; k != nil && (old == nil || !equality.Semantic.DeepEqual(old.Spec.ParamKind, k)) {
			err = p.mayReadKind(ctx, r.User, k)
		}
	case *registration.ValidatingAdmissionPolicyBinding:
		old, _ := r.Old.(*registration.ValidatingAdmissionPolicyBinding)
		if ref := o.Spec.ParamRef; ref != nil && (old == nil || !equality.Semantic.DeepEqual(old.Spec.ParamRef, ref) || old.Spec.PolicyName != o.Spec.PolicyName) {
			k, ok := client.Lookup[registration.ValidatingAdmissionPolicy](p.view, object.Key{Name: o.Spec.PolicyName})
			b := bound{policy: o.Spec.PolicyName, found: ok, ref: ref}
			if ok {
				b.kind = k.Spec.ParamKind
			}
			err = p.mayReadRef(ctx, r.User, b)
		}
	case *registration.MutatingAdmissionPolicyBinding:
		old, _ := r.Old.(*registration.MutatingAdmissionPolicyBinding)
		if ref := o.Spec.ParamRef; ref != nil && (old == nil || !equality.Semantic.DeepEqual(old.Spec.ParamRef, ref) || old.Spec.PolicyName != o.Spec.PolicyName) {
			k, ok := client.Lookup[registration.MutatingAdmissionPolicy](p.view, object.Key{Name: o.Spec.PolicyName})
			b := bound{policy: o.Spec.PolicyName, found: ok, ref: ref, mutating: true}
			if ok {
				b.kind = k.Spec.ParamKind
			}
			err = p.mayReadRef(ctx, r.User, b)
		}
	}
	if err == nil {
		return nil
	}
	return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), r.Key.Name, field.ErrorList{field.Forbidden(at, err.Error())})
}

// scope is the group, version and resource of a kind; "*" for what is not known.
func (p *plugin) scope(k *registration.ParamKind) (group, version, resource string, parse, resolve error) {
	group, version, resource = "*", "*", "*"
	if k == nil {
		return group, version, resource, nil, nil
	}
	gv, err := schema.ParseGroupVersion(k.APIVersion)
	if err != nil {
		return group, version, resource, err, nil
	}
	found, err := p.findKind(k)
	if err != nil {
		return gv.Group, gv.Version, resource, nil, err
	}
	return gv.Group, gv.Version, found.kind.Resource.Resource, nil, nil
}

func (p *plugin) mayReadKind(ctx context.Context, u authn.User, k *registration.ParamKind) error {
	group, version, resource, _, _ := p.scope(k)
	d, err := p.deps.Authz.Authorize(ctx, authz.Attributes{User: u, Verb: "get", Group: group, Version: version, Resource: resource,
		Namespace: "*", Name: "*", ResourceRequest: true})
	if err != nil || d.Allowed {
		return err
	}
	return fmt.Errorf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, info(u), k.Kind, k.APIVersion)
}

// bound is a binding with what is known of its policy.
type bound struct {
	policy   string
	found    bool // there is such a policy
	kind     *registration.ParamKind
	ref      *registration.ParamRef
	mutating bool
}

func (p *plugin) mayReadRef(ctx context.Context, u authn.User, b bound) error {
	group, version, resource, parse, resolve := p.scope(b.kind)
	verb := "get"
	if b.ref.Name == "" {
		verb = "list"
	}
	d, err := p.deps.Authz.Authorize(ctx, authz.Attributes{User: u, Verb: verb, Group: group, Version: version, Resource: resource,
		Namespace: b.ref.Namespace, Name: b.ref.Name, ResourceRequest: true})
	if err != nil || d.Allowed {
		return err
	}
	const least = `to determine minimum required permissions and user %v does not have "%v" permission for all groups, versions and resources`
	switch {
	case !b.found:
		return fmt.Errorf("unable to get policy %s "+least, b.policy, info(u), verb)
	case parse != nil:
		return fmt.Errorf("unable to parse paramKind &{%s %s} "+least, b.kind.APIVersion, b.kind.Kind, info(u), verb)
	case resolve != nil:
		return fmt.Errorf("unable to resolve paramKind &{%s %s} "+least, b.kind.APIVersion, b.kind.Kind, info(u), verb)
	case b.mutating: // Kubernetes has the two the wrong way round
		return fmt.Errorf(`user %v does not have "%v" permission on the object referenced by paramRef`, verb, info(u))
	}
	return fmt.Errorf(`user %v does not have "%v" permission on the object referenced by paramRef`, info(u), verb)
}

// info is the user as Kubernetes' messages show one.
func info(u authn.User) *user.DefaultInfo {
	return &user.DefaultInfo{Name: u.Name, UID: u.UID, Groups: u.Groups, Extra: u.Extra}
}
