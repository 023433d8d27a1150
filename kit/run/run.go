package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Component is one long-running part of a process.
type Component struct {
	// Name appears in the error when the component ends.
	Name string
	// Run blocks until ctx ends or the component fails. Returning nil before ctx ends counts as a failure.
	Run func(ctx context.Context) error
}

// All runs every component at once and waits for all of them. The first that returns, for whatever reason, cancels the
// context of the others. All returns nil if the parent context ended first and nobody failed on the way down.
func All(parent context.Context, parts ...Component) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards first
		first error
	)
	for _, p := range parts {
		wg.Go(func() {
			err := p.Run(ctx)
			early := ctx.Err() == nil
			cancel()
			if errors.Is(err, context.Canceled) && !early {
				err = nil
			}
			if err == nil && early {
				err = errors.New("ended unexpectedly")
			}
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = fmt.Errorf("%s: %w", p.Name, err)
			}
		})
	}
	wg.Wait()
	return first
}
