package audit

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// Sink takes events somewhere. Write may be called at once by many; it owns nothing of the event after it returns, and nobody changes it
// later. An error says that the event is lost.
type Sink interface {
	Write(events []*Event) error
}

// Log writes down what its policy says, into its sinks. A nil Log writes nothing, and costs nothing.
type Log struct {
	policy *Policy
	sinks  []Sink
	log    *slog.Logger
	strict bool // a request whose event cannot be written at its beginning is refused

	written, lost atomic.Int64
	runs          []func(context.Context) error
}

// Config is what a Log is made of.
type Config struct {
	Policy *Policy
	Sinks  []Sink
	Strict bool // refuse a request that cannot be written down: "blocking-strict"
	Log    *slog.Logger
}

// New makes a Log. It starts nothing.
func New(c Config) *Log {
	l := &Log{policy: c.Policy, sinks: c.Sinks, strict: c.Strict, log: c.Log}
	if l.log == nil {
		l.log = slog.Default()
	}
	for _, s := range c.Sinks {
		if r, ok := s.(interface{ Run(context.Context) error }); ok {
			l.runs = append(l.runs, r.Run)
		}
	}
	return l
}

// Run serves the sinks that write later, until ctx ends and they have written what they have.
func (l *Log) Run(ctx context.Context) error {
	done := make(chan error, len(l.runs))
	for _, run := range l.runs {
		go func() { done <- run(ctx) }()
	}
	var first error
	for range l.runs {
		if err := <-done; err != nil && first == nil {
			first = err
		}
	}
	<-ctx.Done()
	return first
}

// Counts is how many events were written, and how many were lost.
func (l *Log) Counts() (written, lost int64) {
	if l == nil {
		return 0, 0
	}
	return l.written.Load(), l.lost.Load()
}

// write gives an event to every sink.
func (l *Log) write(e *Event) error {
	var first error
	for _, s := range l.sinks {
		if err := s.Write([]*Event{e}); err != nil {
			l.lost.Add(1)
			l.log.Error("an audit event is lost", "id", e.AuditID, "stage", e.Stage, "err", err)
			if first == nil {
				first = err
			}
			continue
		}
		l.written.Add(1)
	}
	return first
}
