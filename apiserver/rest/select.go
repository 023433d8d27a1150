package rest

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"proa.dev/apiserver/cache"
	"proa.dev/client"
)

// selection is which objects a list or watch of t is about. Equality with a name or a node is taken out of the field selector:
// the cache has those at hand. The errors are 400s.
func (a *API) selection(s *Served, t client.Target, opt metav1.ListOptions) (cache.Selection, error) {
	sel := cache.Selection{Namespace: t.Namespace, Name: t.Name}
	var err error
	if opt.LabelSelector != "" {
		if sel.Labels, err = labels.Parse(opt.LabelSelector); err != nil {
			return sel, apierrors.NewBadRequest(err.Error())
		}
	}
	if opt.FieldSelector == "" {
		return sel, nil
	}
	sel.Fields, err = fields.ParseSelector(opt.FieldSelector)
	if err != nil {
		return sel, apierrors.NewBadRequest(err.Error())
	}
	known := cache.FieldsOf(s.Kind, s.Kind.New())
	var left []fields.Selector
	for _, r := range sel.Fields.Requirements() {
		if _, ok := known[r.Field]; !ok {
			return sel, apierrors.NewBadRequest(unknownField(s, r.Field))
		}
		exact := (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) && r.Value != ""
		switch {
		case exact && r.Field == "metadata.name" && (sel.Name == "" || sel.Name == r.Value):
			sel.Name = r.Value
		case exact && r.Field == "metadata.namespace" && (sel.Namespace == "" || sel.Namespace == r.Value):
			sel.Namespace = r.Value
		case exact && r.Field == "spec.nodeName" && s.Kind.Kind == "Pod" && (sel.Node == "" || sel.Node == r.Value):
			sel.Node = r.Value
		case r.Operator == selection.NotEquals:
			left = append(left, fields.OneTermNotEqualSelector(r.Field, r.Value))
		default:
			left = append(left, fields.OneTermEqualSelector(r.Field, r.Value))
		}
	}
	sel.Fields = nil
	if len(left) > 0 {
		sel.Fields = fields.AndSelectors(left...)
	}
	return sel, nil
}

// unknownField words that a kind cannot be selected by a field: kinds with selectable fields of their own say less.
func unknownField(s *Served, name string) string {
	if s.Kind.Custom != nil || len(s.Kind.Fields(s.Kind.New())) > 0 {
		return fmt.Sprintf("field label not supported: %s", name)
	}
	return fmt.Sprintf("%q is not a known field selector: only %q, %q", name, "metadata.name", "metadata.namespace")
}
