package run

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestFirstFailureNamesTheComponentAndStopsTheRest(t *testing.T) {
	stopped := false
	boom := errors.New("boom")
	err := All(t.Context(),
		Component{"patient", func(ctx context.Context) error { defer func() { stopped = true }(); return wait(ctx) }},
		Component{"faulty", func(context.Context) error { return boom }},
	)
	if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "faulty: ") {
		t.Errorf("got %v, want faulty: boom", err)
	}
	if !stopped {
		t.Error("the other component was not stopped")
	}
}

func TestEarlyReturnIsAnError(t *testing.T) {
	err := All(t.Context(), Component{"short", func(context.Context) error { return nil }}, Component{"long", wait})
	if err == nil || err.Error() != "short: ended unexpectedly" {
		t.Errorf("got %v, want short: ended unexpectedly", err)
	}
}

func TestCleanStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := All(ctx, Component{"a", wait}, Component{"b", wait}); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}
