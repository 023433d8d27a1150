package record

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// api keeps Events; the calls that a Recorder does not make are not there.
type api struct {
	client.Client
	events map[object.Key]*core.Event
	broken bool
}

func (a *api) Create(_ context.Context, t client.Target, o object.Object, _ metav1.CreateOptions) (object.Object, error) {
	e := o.(*core.Event)
	if a.broken || e.Namespace != t.Namespace || e.Namespace == "" {
		return nil, apierrors.NewForbidden(t.GroupResource(), e.Name, fmt.Errorf("no"))
	}
	a.events[object.KeyOf(e)] = e
	return e, nil
}

func (a *api) Patch(_ context.Context, t client.Target, p client.Patch, _ metav1.PatchOptions) (object.Object, error) {
	e, ok := a.events[t.Key]
	if !ok {
		return nil, apierrors.NewNotFound(t.GroupResource(), t.Name)
	}
	n := e.DeepCopy()
	if err := json.Unmarshal(p.Data, n); err != nil {
		return nil, err
	}
	a.events[t.Key] = n
	return n, nil
}

func start(t *testing.T) (*Recorder, *api) {
	a := &api{events: map[object.Key]*core.Event{}}
	r := New(a, "test", "n1")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r, a
}

func pod(name string) *core.Pod {
	return &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "u"}}
}

func counts(a *api) map[string]int32 {
	out := map[string]int32{}
	for _, e := range a.events {
		out[e.Message] += e.Count
	}
	return out
}

func TestRepeatsRaiseTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := start(t)
		for range 3 {
			r.Event(pod("p"), Warning, "BackOff", "back-off %s", "10s")
			time.Sleep(time.Second)
		}
		r.Field(pod("p"), "spec.containers{c}", Normal, "Pulled", "%s", "100% there")
		synctest.Wait()
		if got := counts(a); len(got) != 2 || got["back-off 10s"] != 3 || got["100% there"] != 1 {
			t.Errorf("got %v", got)
		}
		for _, e := range a.events {
			if e.InvolvedObject.Kind != "Pod" || e.InvolvedObject.APIVersion != "v1" || e.Source.Host != "n1" || e.ReportingController != "test" {
				t.Errorf("got %+v", e)
			}
			if e.Reason == "BackOff" && e.LastTimestamp.Sub(e.FirstTimestamp.Time) != 2*time.Second {
				t.Errorf("first %v, last %v", e.FirstTimestamp, e.LastTimestamp)
			}
		}
	})
}

func TestExpiredEventStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := start(t)
		r.Event(pod("p"), Normal, "R", "m")
		synctest.Wait()
		clear(a.events)
		r.Event(pod("p"), Normal, "R", "m")
		synctest.Wait()
		if got := counts(a); got["m"] != 1 {
			t.Errorf("got %v, want a new event", got)
		}
	})
}

func TestManySimilarBecomeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := start(t)
		for i := range 20 {
			r.Event(pod("p"), Normal, "SuccessfulCreate", "Created pod: p-%d", i)
		}
		synctest.Wait()
		combined := 0
		for _, e := range a.events {
			if strings.HasPrefix(e.Message, "(combined from similar events): ") {
				combined++
			}
		}
		if len(a.events) != similarMax || combined != 1 {
			t.Errorf("%d events, %d combined; want %d and 1", len(a.events), combined, similarMax)
		}
	})
}

func TestFloodIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := start(t)
		for range 100 {
			r.Event(pod("p"), Normal, "R", "m")
		}
		synctest.Wait()
		if got := counts(a)["m"]; got != burst {
			t.Errorf("%d written, want %d", got, burst)
		}
		time.Sleep(2 * refill)
		for range 10 {
			r.Event(pod("p"), Normal, "R", "m")
		}
		synctest.Wait()
		if got := counts(a)["m"]; got != burst+2 {
			t.Errorf("%d written after a while, want %d", got, burst+2)
		}
	})
}

func TestEachComponentSpeaksForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := start(t)
		other := r.As("other")
		other.Event(pod("p"), Normal, "R", "m")
		r.Event(pod("p"), Normal, "R", "m")
		synctest.Wait()
		got := map[string]int32{}
		for _, e := range a.events {
			got[e.Source.Component+"@"+e.Source.Host+" "+e.ReportingController] = e.Count
		}
		want := map[string]int32{"test@n1 test": 1, "other@ other": 1}
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		var none *Recorder
		none.As("x").Event(pod("p"), Normal, "R", "m")
	})
}

func TestNobodyEverWaits(t *testing.T) {
	r := New(&api{}, "test", "")
	for range queueSize + 5 { // Run does not run
		r.Event(pod("p"), Normal, "R", "m")
	}
	if got := r.Dropped(); got != 5 {
		t.Errorf("%d dropped, want 5", got)
	}
	var none *Recorder
	none.Event(pod("p"), Normal, "R", "m")
}

func TestClusterScopedAndLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := start(t)
		n := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("n", 250)}}
		r.Event(n, Normal, "R", "%s", strings.Repeat("é", 1000))
		synctest.Wait()
		for k, e := range a.events {
			if k.Namespace != "default" || len(k.Name) > 253 || len(e.Message) > maxMessage {
				t.Errorf("key %d bytes in %s, message %d bytes", len(k.Name), k.Namespace, len(e.Message))
			}
		}
		if len(a.events) != 1 {
			t.Errorf("%d events, want 1", len(a.events))
		}
	})
}
