package rest

import (
	"context"
	"fmt"
	"strings"

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
func (a *API) selection(ctx context.Context, s *Served, t client.Target, opt metav1.ListOptions) (cache.Selection, error) {
	sel, err := s.selection(t, opt)
	sel.Version = s.version(ctx, &sel)
	return sel, err
}

func (s *Served) selection(t client.Target, opt metav1.ListOptions) (cache.Selection, error) {
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
	if t.Name != "" {
		if name, ok := sel.Fields.RequiresExactMatch("metadata.name"); !ok || name != t.Name {
			return sel, apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
		}
	}
	empty := s.Kind.New()
	known, plain := cache.FieldsOf(s.Kind, empty), s.Kind.Custom == nil && len(s.Kind.Fields(empty)) == 0
	var left []fields.Selector
	for _, r := range sel.Fields.Requirements() {
		if _, ok := known[r.Field]; ok && s.Kind.Kind == "Event" && !eventField(s.Group, r.Field) || !ok && !(r.Field == "metadata.namespace" && plain) ||
			r.Field == "metadata.namespace" && s.Kind.Kind == "PodCertificateRequest" { // whose version of the API forgot it
			return sel, apierrors.NewBadRequest(notSelectable(s, r.Field, plain))
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

// eventField says whether the version of events that a group has knows a field. The kind has those of both.
func eventField(group, field string) bool {
	newer := strings.HasPrefix(field, "regarding.") || field == "reportingController"
	older := strings.HasPrefix(field, "involvedObject.") || field == "reportingComponent" || field == "source"
	return !newer && !older || newer == (group != "")
}

// notSelectable is the error of a selector with a field that the kind does not have. plain says that the kind has none of its own.
func notSelectable(s *Served, field string, plain bool) string {
	switch {
	case plain:
		return fmt.Sprintf("%q is not a known field selector: only %q, %q", field, "metadata.name", "metadata.namespace")
	case s.Kind.Kind == "Job":
		return fmt.Sprintf("field label %q not supported for Job", field)
	case s.Kind.Kind == "ResourceSlice":
		return fmt.Sprintf("field label not supported for %s: %s", s.GVK(), field)
	}
	return fmt.Sprintf("field label not supported: %s", field)
}
