package core

import (
	"fmt"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// validateEvent checks what both versions of events ask for. Events with eventTime are of the newer sort, which says more.
func validateEvent(o *core.Event) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		about, p := o.InvolvedObject.Namespace, field.NewPath("involvedObject", "namespace")
		newer := !o.EventTime.IsZero()
		switch {
		case about != "" && !newer && about != o.Namespace,
			about == "" && !newer && o.Namespace != "" && o.Namespace != metav1.NamespaceDefault,
			about == "" && newer && o.Namespace != metav1.NamespaceDefault && o.Namespace != metav1.NamespaceSystem:
			e.Invalid(p, about, "does not match event.namespace")
		}
		if newer {
			newerEvent(e, o)
		}
		e.Subdomain(field.NewPath("namespace"), o.Namespace)
	})
}

func newerEvent(e *check.Errors, o *core.Event) {
	if o.ReportingController == "" {
		e.Required(field.NewPath("reportingComponent"), "")
	}
	e.QualifiedName(field.NewPath("reportingComponent"), o.ReportingController)
	for _, f := range []struct {
		name, value string
		limit       int
		required    bool
	}{
		{"reportingInstance", o.ReportingInstance, 128, true}, {"action", o.Action, 128, true}, {"reason", o.Reason, 128, true},
		{"message", o.Message, 1024, false},
	} {
		if f.required && f.value == "" {
			e.Required(field.NewPath(f.name), "")
		}
		if len(f.value) > f.limit {
			e.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %v characters", f.limit))
		}
	}
}
