package process

import (
	"context"
	"sync"
	"time"
)

// Step is one milestone of the start.
type Step struct {
	Name  string        `json:"name"`
	After time.Duration `json:"after"` // since the start of the process, in nanoseconds
}

// steps collects the milestones of one start, in the order they are reached.
type steps struct {
	start time.Time
	want  int // so many there will be

	mu    sync.Mutex // guards done and wake
	done  []Step
	wake  chan struct{} // closed and replaced at each step
	names map[string]bool
}

func newSteps(start time.Time, want int) *steps {
	return &steps{start: start, want: want, wake: make(chan struct{}), names: map[string]bool{}}
}

// reach records a milestone, once.
func (s *steps) reach(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] {
		return
	}
	s.names[name] = true
	s.done = append(s.done, Step{name, time.Since(s.start)})
	close(s.wake)
	s.wake = make(chan struct{})
}

// follow calls fn for each step, those already reached first, until all are reached or ctx ends.
func (s *steps) follow(ctx context.Context, fn func(Step) error) error {
	for told := 0; told < s.want; {
		s.mu.Lock()
		fresh, wake := s.done[told:], s.wake
		s.mu.Unlock()
		for _, step := range fresh {
			if err := fn(step); err != nil {
				return err
			}
		}
		told += len(fresh)
		if len(fresh) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
	return nil
}
