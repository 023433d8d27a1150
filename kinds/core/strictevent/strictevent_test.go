package strictevent

import (
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func event(change func(e *core.Event)) *core.Event {
	e := &core.Event{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Reason: "R", Type: core.EventTypeNormal,
		EventTime: metav1.NewMicroTime(time.Unix(1_700_000_000, 1000))}
	change(e)
	return e
}

func TestCheck(t *testing.T) {
	same := func(*core.Event) {}
	for _, c := range []struct {
		name, want string // want: the fields that are wrong
		now, old   func(*core.Event)
	}{
		{"new", "", same, nil},
		{"without a time", "eventTime ", func(e *core.Event) { e.EventTime = metav1.MicroTime{} }, nil},
		{"with what only v1 has", "count source ", func(e *core.Event) { e.Count, e.Source.Host = 1, "h" }, nil},
		{"a series of one", "series.count series.lastObservedTime ", func(e *core.Event) { e.Series = &core.EventSeries{Count: 1} }, nil},
		{"a type of its own", "type ", func(e *core.Event) { e.Type = "Odd" }, nil},
		{"nothing changed", "", same, same},
		{"parts of a microsecond", "", func(e *core.Event) { e.EventTime = metav1.NewMicroTime(e.EventTime.Add(100)) }, same},
		{"another message", "message ", func(e *core.Event) { e.Message = "m" }, same},
		{"a series that was as bad before", "", func(e *core.Event) { e.Series = &core.EventSeries{Count: 1} }, func(e *core.Event) { e.Series = &core.EventSeries{Count: 1} }},
	} {
		var old *core.Event
		if c.old != nil {
			old = event(c.old)
		}
		got := ""
		for _, err := range Check(event(c.now), old) {
			got += err.Field + " "
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
