package rules

import (
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
	"proa.dev/object"
)

// Selectors are a namespaceSelector and an objectSelector, ready for use. The zero value of either matches nothing: make them by Select.
type Selectors struct {
	Namespace, Object labels.Selector
}

// Select makes Selectors. nil selects everything.
func Select(namespace, objects *metav1.LabelSelector) (s Selectors, err error) {
	if s.Namespace, err = selector(namespace); err != nil {
		return s, err
	}
	s.Object, err = selector(objects)
	return s, err
}

func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// MatchesNamespace says whether the namespace of the request is one of those selected. Requests that are about no namespace always
// are. The error is 404 if the namespace does not exist.
func (s Selectors) MatchesNamespace(r *admission.Request, view client.View) (bool, *apierrors.StatusError) {
	if s.Namespace.Empty() || r.Key.Namespace == "" && !r.OfNamespaces() {
		return true, nil
	}
	set, err := namespaceLabels(r, view)
	if err != nil {
		return false, err
	}
	return s.Namespace.Matches(labels.Set(set)), nil
}

// namespaceLabels are those of the namespace that the request is about, as they will be.
func namespaceLabels(r *admission.Request, view client.View) (map[string]string, *apierrors.StatusError) {
	if r.OfNamespaces() && r.Sub == "" && (r.Op == admission.Create || r.Op == admission.Update) {
		return r.Object.GetLabels(), nil
	}
	if r.OfNamespaces() && r.Old != nil {
		return r.Old.GetLabels(), nil
	}
	ns, ok := client.Lookup[core.Namespace](view, object.Key{Name: r.Namespace()})
	if !ok {
		return nil, apierrors.NewNotFound(object.ResourceOf[core.Namespace]().GroupResource(), r.Namespace())
	}
	return ns.Labels, nil
}

// MatchesObject says whether the object is one of those selected, as it is or as it will be.
func (s Selectors) MatchesObject(r *admission.Request) bool {
	if s.Object.Empty() {
		return true
	}
	return r.Object != nil && s.Object.Matches(labels.Set(r.Object.GetLabels())) ||
		r.Old != nil && s.Object.Matches(labels.Set(r.Old.GetLabels()))
}
