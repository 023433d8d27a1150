package control

import (
	"context"
	"log/slog"
	"time"

	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/object"
)

// Deps is what a controller is built from.
type Deps struct {
	Client client.Client
	View   client.View
	Events *record.Recorder // nil discards
	Log    *slog.Logger
	CAPEM  []byte // the cluster's CA bundle, for control/rootca, accounttoken and trustbundle
}

// Logger is Deps.Log with the controller's name, or one that discards.
func (d Deps) Logger(name string) *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log.With("controller", name)
}

// Again says after what time a key is to be reconciled again although nothing happened to it. Done means: only when something happens.
type Again time.Duration

// Done is the zero Again.
const Done Again = 0

// Until is the Again that ends at t: at least a millisecond, so that it never means Done.
func Until(t, now time.Time) Again { return Again(max(t.Sub(now), time.Millisecond)) }

// Sooner is the one of a and b that ends first.
func (a Again) Sooner(b Again) Again {
	if a == Done || (b != Done && b < a) {
		return b
	}
	return a
}

// Reconciler makes one object as it should be.
type Reconciler interface {
	Reconcile(ctx context.Context, key object.Key) (Again, error)
}

// Or is *p, or def where p is nil: for optional fields of API types.
func Or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
