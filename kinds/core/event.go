package core

import (
	"fmt"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	events "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/core/strictevent"
	"proa.dev/object"
)

// Event is v1 Event, also served as events.k8s.io/v1: something that happened to an object, kept for an hour.
var Event = kinds.Def[core.Event, *core.Event]{
	Path:     "v1/events",
	Short:    []string{"ev"},
	TTL:      time.Hour,
	Fields:   eventFields,
	Name:     func(string, bool) []string { return nil }, // older events have names as they come; newer ones are checked below
	Validate: validateEvent,
	Also: []kinds.Other{{
		Path: "events.k8s.io/v1/events",
		New:  func() object.Object { return &events.Event{} },
		To:   func(hub object.Object) (object.Object, error) { return newEvent(hub.(*core.Event)), nil },
		From: func(o object.Object) (object.Object, error) { return oldEvent(o.(*events.Event)), nil },
		Validate: func(hub, old object.Object) field.ErrorList {
			was, _ := old.(*core.Event)
			return strictevent.Check(hub.(*core.Event), was)
		},
		Names: map[string]string{"reportingComponent": "reportingController"},
	}},
	Columns: eventColumns(),
	Row:     eventRow,
}

// eventFields has the names of both versions.
func eventFields(e *core.Event) map[string]string {
	m := map[string]string{
		"reason": e.Reason, "type": e.Type, "source": or(e.Source.Component, e.ReportingController),
		"reportingComponent": e.ReportingController, "reportingController": e.ReportingController,
	}
	for _, prefix := range []string{"involvedObject.", "regarding."} {
		m[prefix+"kind"] = e.InvolvedObject.Kind
		m[prefix+"namespace"] = e.InvolvedObject.Namespace
		m[prefix+"name"] = e.InvolvedObject.Name
		m[prefix+"uid"] = string(e.InvolvedObject.UID)
		m[prefix+"apiVersion"] = e.InvolvedObject.APIVersion
		m[prefix+"resourceVersion"] = e.InvolvedObject.ResourceVersion
		m[prefix+"fieldPath"] = e.InvolvedObject.FieldPath
	}
	return m
}

func newEvent(e *core.Event) *events.Event {
	out := &events.Event{
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime, ReportingController: e.ReportingController,
		ReportingInstance: e.ReportingInstance, Action: e.Action, Reason: e.Reason, Regarding: e.InvolvedObject,
		Related: e.Related, Note: e.Message, Type: e.Type, DeprecatedSource: e.Source,
		DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp, DeprecatedCount: e.Count,
	}
	if e.Series != nil {
		out.Series = &events.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

func oldEvent(e *events.Event) *core.Event {
	out := &core.Event{
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime, ReportingController: e.ReportingController,
		ReportingInstance: e.ReportingInstance, Action: e.Action, Reason: e.Reason, InvolvedObject: e.Regarding,
		Related: e.Related, Message: e.Note, Type: e.Type, Source: e.DeprecatedSource,
		FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp, Count: e.DeprecatedCount,
	}
	if e.Series != nil {
		out.Series = &core.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

func eventColumns() []kinds.Column {
	of := core.Event{}.SwaggerDoc()
	c := kinds.Described(kinds.Columns("Last Seen", "Type", "Reason", "Object", "Subobject+", "Source+", "Message", "First Seen+", "Count+", "Name+"),
		of["lastTimestamp"], of["type"], of["reason"], of["involvedObject"], core.ObjectReference{}.SwaggerDoc()["fieldPath"], of["source"], of["message"],
		of["firstTimestamp"], of["count"], metav1.ObjectMeta{}.SwaggerDoc()["name"])
	c[len(c)-1].Format = "name"
	return c
}

func eventRow(e *core.Event, now time.Time) []any {
	first := kinds.Age(e.FirstTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = microAge(e.EventTime, now)
	}
	last := kinds.Age(e.LastTimestamp, now)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := max(e.Count, 1)
	if e.Series != nil {
		last, count = microAge(e.Series.LastObservedTime, now), e.Series.Count
	}
	about := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		about += "/" + e.InvolvedObject.Name
	}
	return []any{
		last, e.Type, e.Reason, about, e.InvolvedObject.FieldPath, eventSource(e), strings.TrimSpace(e.Message),
		first, int64(count), e.Name,
	}
}

func eventSource(e *core.Event) string {
	component, host := or(e.Source.Component, e.ReportingController), or(e.Source.Host, e.ReportingInstance)
	if host == "" {
		return component
	}
	return fmt.Sprintf("%s, %s", component, host)
}

func microAge(t metav1.MicroTime, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}
