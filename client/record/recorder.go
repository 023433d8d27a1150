package record

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// Types of an event.
const (
	Normal  = core.EventTypeNormal
	Warning = core.EventTypeWarning
)

// queueSize bounds the events that wait to be written; about 300 bytes each.
const queueSize = 4096

// maxMessage is the longest message that the events API takes, in bytes.
const maxMessage = 1024

// Recorder writes events as one component. Its methods are safe for concurrent use.
type Recorder struct {
	*writer
	source core.EventSource
}

// writer is what recorders share that were made of one another.
type writer struct {
	api     client.Client
	bell    chan struct{} // holds a token when somebody waits
	dropped atomic.Int64  // since the recorder was made, for want of room in the queue
	named   int64         // the last number in a name, so that no two are the same; Run's goroutine only

	mu      sync.Mutex
	waiting []occurrence // of mu; at most queueSize, and no memory while there is none
}

// occurrence is one call of Event.
type occurrence struct {
	source       core.EventSource
	ref          core.ObjectReference
	kind, reason string // kind is Normal or Warning
	message      string
	at           time.Time
}

// New makes a recorder whose events say they come from component on host (host may be empty). Events wait until Run runs.
func New(c client.Client, component, host string) *Recorder {
	return &Recorder{
		writer: &writer{api: c, bell: make(chan struct{}, 1)},
		source: core.EventSource{Component: component, Host: host},
	}
}

// As is r for another component, without a host. What it notes is written by r's Run.
func (r *Recorder) As(component string) *Recorder {
	if r == nil {
		return nil
	}
	return &Recorder{writer: r.writer, source: core.EventSource{Component: component}}
}

// Event notes that something happened to o. eventtype is Normal or Warning, reason one CamelCase word. It returns at once; a nil
// Recorder discards.
func (r *Recorder) Event(o object.Object, eventtype, reason, format string, args ...any) {
	r.Field(o, "", eventtype, reason, format, args...)
}

// Field is Event for a part of o: fieldPath names it, as in "spec.containers{web}".
func (r *Recorder) Field(o object.Object, fieldPath, eventtype, reason, format string, args ...any) {
	if r == nil || o == nil {
		return
	}
	ref := Reference(o)
	ref.FieldPath = fieldPath
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
	}
	r.add(occurrence{source: r.source, ref: ref, kind: eventtype, reason: reason, message: message, at: time.Now()})
}

// add puts o behind those that wait, if there is room.
func (w *writer) add(o occurrence) {
	w.mu.Lock()
	full := len(w.waiting) == queueSize
	if !full {
		w.waiting = append(w.waiting, o)
	}
	w.mu.Unlock()
	if full {
		w.dropped.Add(1)
		return
	}
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// take is all that wait, in order.
func (w *writer) take() []occurrence {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.waiting
	w.waiting = nil
	return all
}

// Dropped counts the events that found the queue full.
func (w *writer) Dropped() int64 { return w.dropped.Load() }

// Reference is how an event, an endpoint or a condition names o.
func Reference(o object.Object) core.ObjectReference {
	gvk := object.KindOf(o)
	return core.ObjectReference{
		APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind,
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}
}

// Run writes what Event noted until ctx ends.
func (w *writer) Run(ctx context.Context) error {
	f := newFolder()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.bell:
		}
		for _, o := range w.take() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if s := f.fold(o); s != nil {
				w.write(ctx, s, o)
			}
		}
	}
}

// write makes or updates the Event of s. A refusal (a namespace that is going away, no permission) loses the event: there is nobody
// to tell, and trying again would only hold up those behind it.
func (w *writer) write(ctx context.Context, s *series, o occurrence) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if s.name != "" {
		err := w.repeat(ctx, s, o)
		if !apierrors.IsNotFound(err) {
			return
		}
		s.first, s.count = o.at, 1 // the Event has expired: start anew
	}
	w.named = max(w.named+1, o.at.UnixNano())
	name := eventName(o, w.named)
	e := &core.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: eventNamespace(o)},
		InvolvedObject: o.ref,
		Type:           o.kind, Reason: o.reason, Message: s.message,
		Source: o.source, ReportingController: o.source.Component, ReportingInstance: o.source.Host,
		FirstTimestamp: metav1.NewTime(s.first), LastTimestamp: metav1.NewTime(o.at), Count: s.count,
	}
	if _, err := client.Create(ctx, w.api, e); err == nil {
		s.name = name
	}
}

func (w *writer) repeat(ctx context.Context, s *series, o occurrence) error {
	data, err := json.Marshal(map[string]any{
		"count": s.count, "lastTimestamp": metav1.NewTime(o.at), "message": s.message,
	})
	if err != nil {
		return err
	}
	t := client.TargetOf[core.Event](object.Key{Namespace: eventNamespace(o), Name: s.name})
	_, err = w.api.Patch(ctx, t, client.Patch{Type: types.MergePatchType, Data: data}, metav1.PatchOptions{})
	return err
}

func eventNamespace(o occurrence) string {
	if o.ref.Namespace == "" {
		return metav1.NamespaceDefault // where events of cluster-scoped objects live
	}
	return o.ref.Namespace
}

// eventName is the object's name, a dot and the time in hex nanoseconds. Object names may be as long as event names, so they are cut.
func eventName(o occurrence, nanos int64) string {
	name := o.ref.Name
	if len(name) > 236 {
		name = name[:236]
	}
	return name + "." + strconv.FormatInt(nanos, 16)
}
