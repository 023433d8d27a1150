package process

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"proa.dev/config"
)

// TestStepsOfADaemonThatEnds follows a start that is given up after its first step.
func TestStepsOfADaemonThatEnds(t *testing.T) {
	c := &config.Config{RunDir: t.TempDir()}
	a := &admin{path: filepath.Join(c.RunDir, "admin.sock"), steps: newSteps(time.Now(), 3)}
	if a.path != adminPath(c) {
		t.Fatalf("the socket is at %s", adminPath(c))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	a.steps.reach("store ready")
	limit, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for seen := 0; seen == 0; {
		err := OpenAdmin(c).Steps(limit, func(Step) {
			seen++
			stop()
		})
		if err == nil || limit.Err() != nil {
			t.Fatalf("after %d of 3 steps: %v", seen, err)
		}
	}
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
