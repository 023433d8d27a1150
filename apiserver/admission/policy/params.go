package policy

import (
	"context"
	"errors"
	"fmt"

	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
)

// paramKind is a kind whose objects are parameters, in the version that a policy names.
type paramKind struct {
	kind  *kinds.Kind
	other *kinds.Other // nil: the version that View has
}

// findKind is the kind that a policy names; nil if the policy names none.
func (p *plugin) findKind(k *registration.ParamKind) (*paramKind, error) {
	if k == nil {
		return nil, nil
	}
	gv, err := schema.ParseGroupVersion(k.APIVersion)
	if err != nil {
		return nil, fmt.Errorf("failed to parse paramKind APIVersion: %w", err)
	}
	gvk := gv.WithKind(k.Kind)
	for _, kind := range p.deps.Kinds() {
		if kind.Resource.Kind != k.Kind || kind.Group != gv.Group {
			continue
		}
		if kind.Version == gv.Version {
			return &paramKind{kind: kind}, nil
		}
		for i := range kind.Also {
			if kinds.ParsePath(kind.Also[i].Path).Version == gv.Version {
				return &paramKind{kind, &kind.Also[i]}, nil
			}
		}
	}
	return nil, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gvk)
}

// collect is the parameters for which a policy has to be evaluated for the request, because of a binding. One nil stands for a policy
// without parameters.
func (p *plugin) collect(ctx context.Context, k *paramKind, ref *registration.ParamRef, r *admission.Request) ([]object.Object, error) {
	if k == nil || ref == nil {
		return []object.Object{nil}, nil
	}
	namespace := ""
	if k.kind.Namespaced {
		if namespace = ref.Namespace; namespace == "" {
			namespace = r.Namespace()
		}
		if namespace == "" {
			return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
		}
	} else if ref.Namespace != "" {
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	}
	var found []object.Object
	switch {
	case ref.Name != "" && ref.Selector != nil:
		return nil, errors.New("paramRef.name and paramRef.selector are mutually exclusive")
	case ref.Name != "":
		if o, ok := p.view.Lookup(k.kind.GroupVersionResource, object.Key{Namespace: namespace, Name: ref.Name}); ok {
			found = append(found, o)
		}
	case ref.Selector != nil:
		sel, err := metav1.LabelSelectorAsSelector(ref.Selector)
		if err != nil {
			return nil, err
		}
		for _, o := range p.view.List(k.kind.GroupVersionResource, client.Select{Namespace: namespace}) {
			if sel.Matches(labels.Set(o.GetLabels())) {
				found = append(found, o)
			}
		}
	default:
		return nil, errors.New("one of name or selector must be provided")
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == registration.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	return k.as(ctx, found)
}

// as is objects in the version that the policy names.
func (k *paramKind) as(ctx context.Context, list []object.Object) ([]object.Object, error) {
	if k.kind.Custom != nil {
		return k.kind.Custom.Convert(ctx, list)
	}
	if k.other == nil {
		return list, nil
	}
	out := make([]object.Object, len(list))
	for i, o := range list {
		made, err := k.other.To(o)
		if err != nil {
			return nil, err
		}
		gv := kinds.ParsePath(k.other.Path).GroupVersion()
		made.GetObjectKind().SetGroupVersionKind(gv.WithKind(k.kind.Resource.Kind))
		out[i] = made
	}
	return out, nil
}
