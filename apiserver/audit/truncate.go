package audit

import (
	"encoding/json"
	"errors"
	"maps"
)

// Truncate keeps events and batches below a size: an event that is larger loses its objects, and is annotated.
type Truncate struct {
	To       Sink
	MaxEvent int // bytes; default 100 KiB
	MaxBatch int // bytes; default 10 MiB
}

// Write implements Sink.
func (t Truncate) Write(events []*Event) error {
	maxEvent, maxBatch := t.MaxEvent, t.MaxBatch
	if maxEvent <= 0 {
		maxEvent = 100 << 10
	}
	if maxBatch <= 0 {
		maxBatch = 10 << 20
	}
	var errs []error
	var batch []*Event
	total := 0
	flush := func() {
		if len(batch) > 0 {
			errs = append(errs, t.To.Write(batch))
		}
		batch, total = nil, 0
	}
	for _, e := range events {
		n := sizeOf(e)
		if n > maxEvent && (e.RequestObject != nil || e.ResponseObject != nil) {
			small := *e
			small.RequestObject, small.ResponseObject = nil, nil
			small.Annotations = maps.Clone(e.Annotations)
			if small.Annotations == nil {
				small.Annotations = map[string]string{}
			}
			small.Annotations["audit.k8s.io/truncated"] = "true"
			e = &small
			n = sizeOf(e)
		}
		if n > maxEvent {
			errs = append(errs, errors.New("event is too large even after truncating"))
			continue
		}
		if total+n > maxBatch {
			flush()
		}
		batch, total = append(batch, e), total+n
	}
	flush()
	return errors.Join(errs...)
}

func sizeOf(e *Event) int {
	b, err := json.Marshal(e)
	if err != nil {
		return 0 // the sink will say so
	}
	return len(b)
}
