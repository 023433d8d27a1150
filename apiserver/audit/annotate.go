package audit

import (
	"context"
	"maps"
	"sync"
)

// Record gathers what is known of one request while it runs. Its methods may be called at once, and on nil, where they do nothing.
type Record struct {
	mu          sync.Mutex
	annotations map[string]string // guarded by mu
}

type recordKey struct{}

// With is ctx with a Record, for a request that may be written down.
func With(ctx context.Context) (context.Context, *Record) {
	r := new(Record)
	return context.WithValue(ctx, recordKey{}, r), r
}

// Annotate adds an annotation to the audit event of the request that ctx belongs to: "pod-security.kubernetes.io/audit-violations",
// "validation.policy.admission.k8s.io/validation_failure". The first value of a key stays. Where nobody audits it does nothing, and costs
// nothing; a value that is dear to make is made only if Audits says so.
func Annotate(ctx context.Context, key, value string) {
	if r, ok := ctx.Value(recordKey{}).(*Record); ok {
		r.annotate(key, value)
	}
}

// Audits says whether the request that ctx belongs to may be written down.
func Audits(ctx context.Context) bool {
	r, ok := ctx.Value(recordKey{}).(*Record)
	return ok && r != nil
}

func (r *Record) annotate(key, value string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.annotations[key]; taken {
		return
	}
	if r.annotations == nil {
		r.annotations = map[string]string{}
	}
	r.annotations[key] = value
}

// Annotations is what has been added so far.
func (r *Record) Annotations() map[string]string {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.annotations)
}
