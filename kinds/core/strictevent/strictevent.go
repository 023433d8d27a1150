package strictevent

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// Check checks what events.k8s.io/v1 asks for beyond v1; old is nil for a new event.
func Check(o, old *core.Event) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if old == nil {
			newStrictEvent(e, o)
			return
		}
		if !equality.Semantic.DeepEqual(o.Series, old.Series) {
			eventSeries(e, o)
		}
		same := func(name string, now, was any) { e.Immutable(field.NewPath(name), now, was) }
		same("involvedObject", o.InvolvedObject, old.InvolvedObject)
		same("reason", o.Reason, old.Reason)
		same("message", o.Message, old.Message)
		same("source", o.Source, old.Source)
		same("firstTimestamp", o.FirstTimestamp, old.FirstTimestamp)
		same("lastTimestamp", o.LastTimestamp, old.LastTimestamp)
		same("count", o.Count, old.Count)
		same("reason", o.Reason, old.Reason)
		same("type", o.Type, old.Type)
		if o.EventTime.UnixMicro() != old.EventTime.UnixMicro() {
			same("eventTime", o.EventTime, old.EventTime)
		}
		same("action", o.Action, old.Action)
		same("related", o.Related, old.Related)
		same("reportingController", o.ReportingController, old.ReportingController)
		same("reportingInstance", o.ReportingInstance, old.ReportingInstance)
	})
}

func newStrictEvent(e *check.Errors, o *core.Event) {
	if p := field.NewPath("metadata"); o.Name != "" {
		e.Subdomain(p.Child("name"), o.Name)
		if o.GenerateName != "" {
			e.Invalids(p.Child("generateName"), o.GenerateName, validation.NameIsDNSSubdomain(o.GenerateName, true))
		}
	}
	eventSeries(e, o)
	if o.EventTime.IsZero() {
		e.Required(field.NewPath("eventTime"), "")
	}
	if o.Type != core.EventTypeNormal && o.Type != core.EventTypeWarning {
		e.Invalid(field.NewPath("type"), "", "has invalid value: "+o.Type)
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !o.FirstTimestamp.IsZero()}, {"lastTimestamp", !o.LastTimestamp.IsZero()}, {"count", o.Count != 0},
		{"source", o.Source != core.EventSource{}},
	} {
		if f.set {
			e.Invalid(field.NewPath(f.name), "", "needs to be unset")
		}
	}
}

func eventSeries(e *check.Errors, o *core.Event) {
	if o.Series == nil {
		return
	}
	if o.Series.Count < 2 {
		e.Invalid(field.NewPath("series.count"), "", "should be at least 2")
	}
	if o.Series.LastObservedTime.IsZero() {
		e.Required(field.NewPath("series.lastObservedTime"), "")
	}
}
