package audit

import (
	"context"
	"errors"
	"time"
)

// Batch writes events to another sink later, several at once, so that no request waits for them. It holds at most Buffer of them; beyond
// that they are lost.
type Batch struct {
	to    Sink
	limit Limits
	queue chan *Event
	ended chan struct{}
	lost  func(events []*Event, err error)
}

// Limits bound a Batch. Zero means the default.
type Limits struct {
	Buffer  int           // events; default 10000
	Size    int           // events written at once; default 400
	MaxWait time.Duration // from the first of them on; default 30 s
}

// errFull says that events come faster than they can be written.
var errFull = errors.New("the buffer of audit events is full")

// NewBatch makes a Batch in front of another sink. lost hears of events that it could not write. It starts nothing: Run writes.
func NewBatch(to Sink, l Limits, lost func([]*Event, error)) *Batch {
	if l.Buffer <= 0 {
		l.Buffer = 10000
	}
	if l.Size <= 0 {
		l.Size = 400
	}
	if l.MaxWait <= 0 {
		l.MaxWait = 30 * time.Second
	}
	return &Batch{to: to, limit: l, queue: make(chan *Event, l.Buffer), ended: make(chan struct{}), lost: lost}
}

// Write implements Sink.
func (b *Batch) Write(events []*Event) error {
	for _, e := range events {
		select {
		case <-b.ended:
			return b.to.Write([]*Event{e}) // nobody gathers any more
		default:
		}
		select {
		case b.queue <- e:
		default:
			return errFull
		}
	}
	return nil
}

// Run writes until ctx ends, and then what is left.
func (b *Batch) Run(ctx context.Context) error {
	defer close(b.ended)
	for {
		var batch []*Event
		select {
		case e := <-b.queue:
			batch = b.gather(ctx, e)
		case <-ctx.Done():
			for len(b.queue) > 0 {
				batch = append(batch, <-b.queue)
			}
			b.flush(batch)
			return nil
		}
		b.flush(batch)
	}
}

// gather waits for the events that go with the first one.
func (b *Batch) gather(ctx context.Context, first *Event) []*Event {
	batch := append(make([]*Event, 0, 16), first)
	late := time.NewTimer(b.limit.MaxWait)
	defer late.Stop()
	for len(batch) < b.limit.Size {
		select {
		case e := <-b.queue:
			batch = append(batch, e)
		case <-late.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

func (b *Batch) flush(batch []*Event) {
	for len(batch) > 0 {
		n := min(len(batch), b.limit.Size)
		if err := b.to.Write(batch[:n]); err != nil {
			b.lost(batch[:n], err)
		}
		batch = batch[n:]
	}
}
