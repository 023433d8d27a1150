package audit

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Record gathers what is known of one request while it runs, and writes it down at each stage. Its methods may be called at once, and on
// nil, where they do nothing.
type Record struct {
	log      *Log
	decision decision

	mu    sync.Mutex // guards event
	event Event
}

type recordKey struct{}

// Begin is ctx with a Record for the request, which a Stage call has not written yet; nil, and ctx as it is, where the policy says so.
// e says who asks what: id, uri, verb, user, addresses, object, and the time.
func (l *Log) Begin(ctx context.Context, a *Attributes, e *Event) (context.Context, *Record) {
	if l == nil {
		return ctx, nil
	}
	d := l.policy.decide(a)
	if d.level == None {
		return ctx, nil
	}
	r := &Record{log: l, decision: d, event: *e}
	r.event.Kind, r.event.APIVersion, r.event.Level = "Event", "audit.k8s.io/v1", d.level
	return context.WithValue(ctx, recordKey{}, r), r
}

// Of is the Record of the request that ctx belongs to; nil if it is not written down.
func Of(ctx context.Context) *Record {
	r, _ := ctx.Value(recordKey{}).(*Record)
	return r
}

// Audits says whether the request that ctx belongs to is written down.
func Audits(ctx context.Context) bool { return Of(ctx) != nil }

// Annotate adds an annotation to the audit event of the request that ctx belongs to: "pod-security.kubernetes.io/audit-violations",
// "validation.policy.admission.k8s.io/validation_failure". The first value of a key stays. Where nobody audits it does nothing, and costs
// nothing; a value that is dear to make is made only if Audits says so.
func Annotate(ctx context.Context, key, value string) {
	r := Of(ctx)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.event.Annotations[key]; taken {
		return
	}
	// What an earlier stage has written down does not change any more.
	next := make(map[string]string, len(r.event.Annotations)+1)
	for k, v := range r.event.Annotations {
		next[k] = v
	}
	next[key] = value
	r.event.Annotations = next
}

// Wants says whether so much is written down.
func (r *Record) Wants(l Level) bool { return r != nil && r.decision.level.rank() >= l.rank() }

// Bare says whether objects are written down without their managed fields.
func (r *Record) Bare() bool { return r != nil && r.decision.bare }

// change changes the event under its lock.
func (r *Record) change(f func(e *Event)) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.event)
}

// Impersonated notes as whom the request acts.
func (r *Record) Impersonated(u User) { r.change(func(e *Event) { e.Impersonated = &u }) }

// About adds what the request's object says of itself to what its path says: name, namespace, uid and resource version.
func (r *Record) About(o metav1.Object) {
	r.change(func(e *Event) {
		next := Object{}
		if e.Object != nil {
			next = *e.Object
		}
		for _, f := range []struct {
			to   *string
			from string
		}{{&next.Namespace, o.GetNamespace()}, {&next.Name, o.GetName()}, {&next.UID, string(o.GetUID())}, {&next.ResourceVersion, o.GetResourceVersion()}} {
			if *f.to == "" {
				*f.to = f.from
			}
		}
		e.Object = &next
	})
}

// Request notes the request's object, as JSON, where the level wants it.
func (r *Record) Request(body []byte) {
	if r.Wants(Request) && json.Valid(body) {
		r.change(func(e *Event) { e.RequestObject = r.strip(body) })
	}
}

// Response notes the response's object, as JSON, where the level wants it.
func (r *Record) Response(body []byte) {
	if r.Wants(RequestResponse) && json.Valid(body) {
		r.change(func(e *Event) { e.ResponseObject = r.strip(body) })
	}
}

// Status notes how the request ended. The code of the first call stays, so that a failure's Status comes before the header.
func (r *Record) Status(s metav1.Status) {
	r.change(func(e *Event) {
		if e.ResponseStatus == nil {
			e.ResponseStatus = &s
		}
	})
}

// strip is a body without managed fields, if the policy says so. It is a copy in any case.
func (r *Record) strip(body []byte) json.RawMessage {
	if r.decision.bare {
		if out, ok := withoutManagedFields(body); ok {
			return out
		}
	}
	return append(json.RawMessage(nil), body...)
}

// withoutManagedFields takes metadata.managedFields away, of an object, of the items of a list, and of the rows of a table.
func withoutManagedFields(body []byte) (json.RawMessage, bool) {
	var o map[string]json.RawMessage
	if json.Unmarshal(body, &o) != nil {
		return nil, false
	}
	changed := false
	var meta map[string]json.RawMessage
	if json.Unmarshal(o["metadata"], &meta) == nil && meta["managedFields"] != nil {
		delete(meta, "managedFields")
		if b, err := json.Marshal(meta); err == nil {
			o["metadata"], changed = b, true
		}
	}
	for list, inner := range map[string]string{"items": "", "rows": "object"} {
		var items []json.RawMessage
		if json.Unmarshal(o[list], &items) != nil {
			continue
		}
		for i := range items {
			if inner == "" {
				if b, ok := withoutManagedFields(items[i]); ok {
					items[i], changed = b, true
				}
				continue
			}
			var row map[string]json.RawMessage
			if json.Unmarshal(items[i], &row) != nil {
				continue
			}
			if b, ok := withoutManagedFields(row[inner]); ok {
				row[inner] = b
				if b, err := json.Marshal(row); err == nil {
					items[i], changed = b, true
				}
			}
		}
		if b, err := json.Marshal(items); err == nil && changed {
			o[list] = b
		}
	}
	if !changed {
		return nil, false
	}
	b, err := json.Marshal(o)
	return b, err == nil
}

// Stage writes the request down at a stage. An error means that it must not go on: only at its beginning, and only where the log is strict.
func (r *Record) Stage(s Stage) error {
	if r == nil || r.decision.omits(s) {
		return nil
	}
	r.mu.Lock()
	e := r.event
	r.mu.Unlock()
	e.Stage = s
	if s == RequestReceived {
		e.Staged = e.Received
	} else {
		e.Staged = Time(time.Now())
	}
	if err := r.log.write(&e); err != nil && r.log.strict && s == RequestReceived {
		return err
	}
	return nil
}
