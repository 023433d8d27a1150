package cri

import (
	"context"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hub gives every event to every listener, in order.
type hub struct {
	mu        sync.Mutex // guards the fields below
	listeners map[*listener]struct{}
	closed    bool
}

// listener queues events without bound: a lost one would leave a pod in the wrong state until somebody looks.
type listener struct {
	mu    sync.Mutex // guards queue
	queue []*runtimeapi.ContainerEventResponse
	wake  chan struct{} // capacity 1
}

func (h *hub) add() *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{wake: make(chan struct{}, 1)}
	if h.listeners == nil {
		h.listeners = map[*listener]struct{}{}
	}
	h.listeners[l] = struct{}{}
	return l
}

func (h *hub) remove(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

func (h *hub) send(e *runtimeapi.ContainerEventResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		l.mu.Lock()
		l.queue = append(l.queue, e)
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}

// each calls f for every event until ctx ends or f fails.
func (l *listener) each(ctx context.Context, f func(*runtimeapi.ContainerEventResponse) error) error {
	for {
		l.mu.Lock()
		batch := l.queue
		l.queue = nil
		l.mu.Unlock()
		for _, e := range batch {
			if err := f(e); err != nil {
				return err
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Events returns every change of state from now on, until ctx ends; then the channel is closed. It is GetContainerEvents for
// callers in the same process. What the events hold is shared: read only.
func (r *Runtime) Events(ctx context.Context) <-chan *runtimeapi.ContainerEventResponse {
	l := r.events.add()
	ch := make(chan *runtimeapi.ContainerEventResponse, 16)
	go func() { // ends with ctx
		defer close(ch)
		defer r.events.remove(l)
		_ = l.each(ctx, func(e *runtimeapi.ContainerEventResponse) error { // only ctx ends it
			select {
			case ch <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return ch
}

// GetContainerEvents implements CRI.
func (r *Runtime) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream runtimeapi.RuntimeService_GetContainerEventsServer) error {
	l := r.events.add()
	defer r.events.remove(l)
	return l.each(stream.Context(), stream.Send)
}

// tell sends an event about a container, or the sandbox itself, with the state of the whole pod.
func (r *Runtime) tell(p *pod, id string, kind runtimeapi.ContainerEventType) {
	// The snapshot and its place in the queue go together, so that a later event never shows an earlier state.
	p.events.Lock()
	defer p.events.Unlock()
	e := &runtimeapi.ContainerEventResponse{ContainerId: id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano()}
	r.mu.Lock()
	e.PodSandboxStatus = r.podStatus(p)
	for _, c := range r.containers {
		if c.pod == p {
			e.ContainersStatuses = append(e.ContainersStatuses, r.status(c))
		}
	}
	r.mu.Unlock()
	r.events.send(e)
}
