package core

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	events "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEventVersions checks that an event goes through its other version and comes back whole.
func TestEventVersions(t *testing.T) {
	then := time.Unix(1_700_000_000, 0)
	e := &core.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: "web.1", Namespace: "shop", Labels: map[string]string{"a": "b"}},
		InvolvedObject:      core.ObjectReference{Kind: "Pod", Name: "web"},
		Reason:              "Started",
		Message:             "it runs",
		Source:              core.EventSource{Component: "keeper", Host: "n1"},
		FirstTimestamp:      metav1.NewTime(then),
		LastTimestamp:       metav1.NewTime(then.Add(time.Second)),
		Count:               3,
		Type:                core.EventTypeNormal,
		EventTime:           metav1.NewMicroTime(then.Add(time.Microsecond)),
		Series:              &core.EventSeries{Count: 2, LastObservedTime: metav1.NewMicroTime(then)},
		Action:              "Start",
		Related:             &core.ObjectReference{Kind: "Node", Name: "n1"},
		ReportingController: "proa.dev/keeper",
		ReportingInstance:   "n1",
	}
	for _, o := range []any{*e, *newEvent(e)} {
		v := reflect.ValueOf(o)
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "TypeMeta" && v.Field(i).IsZero() {
				t.Errorf("%T: %s is lost, or not tried", o, name)
			}
		}
	}
	if d := cmp.Diff(e, oldEvent(newEvent(e))); d != "" {
		t.Errorf("an event comes back changed (-was +is):\n%s", d)
	}
	if d := cmp.Diff(&events.Event{}, newEvent(&core.Event{})); d != "" {
		t.Errorf("an empty event is not (-want +got):\n%s", d)
	}
}
