package admission

import (
	"context"
	"slices"
	"sync"
)

// Notes is what the client is told beside its answer.
type Notes struct {
	mu       sync.Mutex // guards warnings: validating webhooks run side by side
	warnings []string
}

type notesKey struct{}

// WithNotes is ctx with a place for notes.
func WithNotes(ctx context.Context) (context.Context, *Notes) {
	n := &Notes{}
	return context.WithValue(ctx, notesKey{}, n), n
}

// Warn adds a warning to the answer, once.
func Warn(ctx context.Context, text string) {
	n, ok := ctx.Value(notesKey{}).(*Notes)
	if !ok || text == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.warnings, text) {
		n.warnings = append(n.warnings, text)
	}
}

// Warnings are the warnings so far.
func (n *Notes) Warnings() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.warnings)
}
