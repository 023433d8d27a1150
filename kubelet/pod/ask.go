package pod

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/observe"
)

// Observed is what the runtime has of a pod; ok is false if there is no such pod here.
func (ws *Workers) Observed(ctx context.Context, uid types.UID) (rt observe.Pod, ok bool) {
	w := ws.worker(uid)
	if w == nil {
		return rt, false
	}
	answer := make(chan observe.Pod, 1)
	w.post(func() {
		answer <- observe.Pod{Sandboxes: slices.Clone(w.s.Runtime.Sandboxes), Containers: slices.Clone(w.s.Runtime.Containers)}
	})
	select {
	case rt = <-answer:
		return rt, true
	case <-w.done:
	case <-ctx.Done():
	}
	return rt, false
}

// Ended is closed once the container does not run, or its pod is gone.
func (ws *Workers) Ended(uid types.UID, id string) <-chan struct{} {
	c := make(chan struct{})
	w := ws.worker(uid)
	if w == nil {
		close(c)
		return c
	}
	known := w.post(func() {
		if w.over(id) {
			close(c)
			return
		}
		w.waiters[id] = append(w.waiters[id], c)
	})
	if !known {
		close(c)
	}
	return c
}

// over says whether a container does not run any more.
func (w *worker) over(id string) bool {
	o := w.s.Runtime.ByID(id)
	return o == nil || o.State == observe.Exited
}

// release wakes those who wait for containers that have ended.
func (w *worker) release(all bool) {
	for id, list := range w.waiters {
		if !all && !w.over(id) {
			continue
		}
		for _, c := range list {
			close(c)
		}
		delete(w.waiters, id)
	}
	if all || w.s.End != nil && len(w.s.Busy.Start) == 0 && !w.s.Runtime.AnyRunning() {
		for _, c := range w.evicted {
			close(c)
		}
		w.evicted = nil
	}
}

// Running are the logs of all running containers, by container id. It implements logs.Source.
func (ws *Workers) Running(ctx context.Context) map[string]string {
	out := map[string]string{}
	for _, p := range ws.Pods() {
		rt, ok := ws.Observed(ctx, p.UID)
		if !ok {
			continue
		}
		for i := range rt.Containers {
			if c := &rt.Containers[i]; c.State == observe.Running && c.LogPath != "" {
				out[c.ID] = c.LogPath
			}
		}
	}
	return out
}

// Reopen has the runtime open a log anew.
func (ws *Workers) Reopen(ctx context.Context, id string) error {
	_, err := ws.Deps.Runtime.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
	return err
}
