package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/pull"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
	"proa.dev/kubelet/volume"
)

// do starts the steps of a plan. Each runs in its own goroutine, for which run waits, and posts its result.
func (w *worker) do(ctx context.Context, p *Plan) {
	if p.End != nil && (w.s.End == nil || *p.End != *w.s.End) {
		if w.s.End == nil {
			w.Log.Info("pod ends", "ns", w.s.Pod.Namespace, "name", w.s.Pod.Name, "grace", p.End.Grace)
		}
		w.s.End = p.End
		w.ends.Store(true)
		p.wake(w.s.Now)
	}
	w.resets(p)
	if p.Cancel {
		w.cancel()
		w.starts, w.cancel = context.WithCancel(ctx)
	}
	if p.Admit {
		w.admit(ctx)
	}
	if p.Volumes {
		w.volumes()
	}
	if p.Sandbox {
		w.sandbox(ctx)
	}
	for _, name := range p.Start {
		w.start(ctx, name)
	}
	for _, k := range p.Kill {
		w.kill(ctx, k)
	}
	for _, id := range p.Remove {
		o := *w.s.Runtime.ByID(id)
		w.remove(ctx, id, func(pod *core.Pod) error { return w.removeContainer(ctx, pod, &o, false) })
	}
	for _, id := range p.Purge {
		o := *w.s.Runtime.ByID(id)
		w.remove(ctx, id, func(pod *core.Pod) error { return w.removeContainer(ctx, pod, &o, true) })
	}
	for _, id := range p.Drop {
		w.remove(ctx, id, func(*core.Pod) error {
			_, err := w.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
			return err
		})
	}
	w.complain(p)
	if p.Cleanup != Nothing {
		w.cleanup(ctx, p.Cleanup)
	}
}

// step runs f in the background and then done on the worker's goroutine.
func (w *worker) step(f func() error, done func(error)) {
	w.steps.Go(func() {
		err := f()
		w.post(func() { done(err) })
	})
}

// fail notes a failed step under name ("" for what is the pod's as a whole).
func (w *worker) fail(name string, r status.Reason, image string) {
	f := w.s.Failed[name]
	now := time.Now()
	wait := retryStep
	if image != "" {
		wait = min(backOffMin<<min(f.Tries, 6), backOffMax)
	} else if name == "" {
		wait = min(retryPodMin<<min(f.Tries, 10), retryPodMax)
	}
	w.s.Failed[name] = Failure{Reason: r, At: now, Retry: now.Add(wait), Tries: f.Tries + 1, Image: image}
}

// When failed steps are tried again, unless something changes before.
const (
	retryStep   = 10 * time.Second
	retryPodMin = 500 * time.Millisecond
	retryPodMax = 2 * time.Minute
)

// reasonOf is that of an event of a volume that could not be made.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*volume.Error](err); ok {
		return e.Reason()
	}
	return "FailedMount"
}

func (w *worker) volumes() {
	w.s.Busy.Volumes = true
	w.s.Stale = time.Time{}
	pod, ctx := w.s.Pod, w.starts
	var renew time.Time
	w.step(func() (err error) {
		renew, err = w.Volumes.Sync(ctx, pod, time.Now())
		return err
	}, func(err error) {
		w.s.Busy.Volumes = false
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			for _, e := range unjoin(err) {
				w.Events.Event(pod, core.EventTypeWarning, reasonOf(e), "%v", e)
			}
			w.fail("", status.Reason{Reason: "FailedMount", Message: err.Error()}, "")
			if w.s.Volumes {
				w.s.Stale = w.s.Failed[""].Retry
			}
			return
		}
		delete(w.s.Failed, "")
		w.s.Volumes = true
		if w.s.Stale.IsZero() || !renew.IsZero() && renew.Before(w.s.Stale) {
			w.s.Stale = renew
		}
	})
}

// unjoin takes the volume errors out of a joined one.
func unjoin(err error) []error {
	var one *volume.Error
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	if errors.As(err, &one) {
		return []error{one}
	}
	return []error{err}
}

// sandbox makes a sandbox. It is not cancelled when the pod is deleted meanwhile: it takes milliseconds, and a sandbox that exists is
// easier to remove than one that half does.
func (w *worker) sandbox(ctx context.Context) {
	w.s.Busy.Sandbox = true
	pod := w.s.Pod
	attempt := uint32(0)
	old := ""
	if len(w.s.Runtime.Sandboxes) > 0 {
		attempt = w.s.Runtime.Sandboxes[0].Attempt + 1
		old = w.s.Runtime.Sandboxes[0].ID
		w.Events.Event(pod, core.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	var made observe.Sandbox
	var unprepared error
	w.step(func() error {
		if old != "" {
			if _, err := w.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: old}); err != nil && !cri.NotFound(err) {
				return err
			}
		}
		handler, err := w.handler(pod)
		if err != nil {
			return err
		}
		if err := w.canMap(ctx, pod, handler); err != nil {
			return err
		}
		config, err := spec.Sandbox(w.Node, pod, attempt)
		if err != nil {
			return err
		}
		if unprepared = w.prepare(ctx, pod); unprepared != nil {
			return unprepared
		}
		if w.Resources != nil {
			w.Resources.Shape(pod, config)
		}
		if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
			return err
		}
		r, err := w.Runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
		if err != nil {
			return err
		}
		w.Index.add(r.PodSandboxId, w.uid)
		made, err = w.statusOf(ctx, r.PodSandboxId)
		if err != nil { // it exists: let the worker know it, so that it gets removed
			made = observe.Sandbox{ID: r.PodSandboxId, Attempt: attempt, Created: time.Now()}
			return errors.Join(err, ctx.Err())
		}
		return nil
	}, func(err error) {
		w.s.Busy.Sandbox = false
		if made.ID != "" {
			w.s.Runtime.SetSandbox(made)
		}
		if err == nil {
			return
		}
		if made.ID != "" {
			w.unread[made.ID] = true
		}
		if ctx.Err() != nil {
			return
		}
		if unprepared != nil {
			w.fail("", status.Reason{Reason: "FailedPrepareDynamicResources", Message: cri.Message(unprepared)}, "")
			return
		}
		w.Events.Event(pod, core.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", cri.Message(err))
		w.fail("", status.Reason{Reason: "FailedCreatePodSandBox", Message: cri.Message(err)}, "")
	})
}

func (w *worker) statusOf(ctx context.Context, id string) (observe.Sandbox, error) {
	r, err := w.Runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return observe.Sandbox{}, err
	}
	return observe.OfSandbox(r.GetStatus()), nil
}

func (w *worker) readSandbox(ctx context.Context, id string) error {
	s, err := w.statusOf(ctx, id)
	if cri.NotFound(err) {
		w.s.Runtime.DropSandbox(id)
		return nil
	}
	if err != nil {
		return err
	}
	w.s.Runtime.SetSandbox(s)
	return nil
}

func (w *worker) inspect(ctx context.Context, id string) (observe.Container, error) {
	r, err := w.Runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return observe.Container{}, err
	}
	return observe.OfContainer(r.GetStatus()), nil
}

// start starts one container in the current sandbox.
func (w *worker) start(run context.Context, name string) {
	c, field := spec.FindContainer(w.s.Pod, name)
	if c == nil {
		return
	}
	o := w.s.Runtime.Latest(name)
	sb := w.s.Runtime.Sandboxes[0]
	j := &job{Deps: w.Deps, pod: w.s.Pod, c: c, field: field, sandbox: sb, ips: sb.IPs, restarts: -1}
	if w.s.Pod.Spec.HostNetwork {
		j.ips = w.Node.IPs
	}
	if o != nil {
		j.restarts = o.Restarts + 1
		hash := observe.Hash(c)
		if o.State == observe.Exited {
			w.s.Back[name] = w.s.Back[name].next(o.Finished, hash, w.s.Now, w.MaxBackOff)
		}
	}
	j.target(w.s.Pod, &w.s.Runtime)
	w.s.Busy.Start[name] = true
	ctx := w.starts
	w.step(func() error { return j.run(run, ctx) }, func(err error) {
		delete(w.s.Busy.Start, name)
		if j.id != "" {
			w.s.Runtime.SetContainer(observe.Container{ID: j.id, Name: name, Sandbox: sb.ID, Restarts: j.restarts, Created: j.created})
			w.unread[j.id] = true
			w.applied[j.id] = c.Resources
		}
		var f *startError
		var noImage *pull.Error
		switch {
		case err == nil:
			delete(w.s.Failed, name)
		case ctx.Err() != nil: // it was stopped on purpose
		case errors.As(err, &f):
			w.fail(name, f.Reason, "")
		case errors.As(err, &noImage):
			w.fail(name, noImage.Reason, noImage.Image)
		default:
			w.fail(name, status.Reason{Reason: "CreateContainerError", Message: err.Error()}, "")
		}
	})
}

// kill stops one container.
func (w *worker) kill(ctx context.Context, k Kill) {
	o := w.s.Runtime.ByID(k.ID)
	if o == nil {
		return
	}
	if stop := w.kills[k.ID]; stop != nil { // a shorter time than before: its preStop hook has no more of it
		stop()
	}
	w.s.Busy.Kill[k.ID] = k.Grace
	if k.Changed {
		w.changed = w.s.Now
	}
	w.Probes.Mute(k.ID)
	hook, stop := context.WithCancel(ctx)
	w.kills[k.ID] = stop
	j := &job{Deps: w.Deps, pod: w.s.Pod, id: k.ID, ips: w.s.Runtime.IPs()}
	j.c, j.field = spec.FindContainer(w.s.Pod, k.Name)
	left := *o
	if !w.s.Gone {
		w.Events.Field(w.s.Pod, j.field, core.EventTypeNormal, "Killing", "%s", k.Message)
	}
	w.step(func() error { return j.stop(ctx, hook, &left, k.Grace) }, func(err error) {
		if w.s.Busy.Kill[k.ID] == k.Grace {
			delete(w.s.Busy.Kill, k.ID)
			delete(w.kills, k.ID)
		}
		stop()
		w.unread[k.ID] = true
		if err != nil && ctx.Err() == nil {
			w.Log.Warn("container not stopped", "ns", w.s.Pod.Namespace, "name", w.s.Pod.Name, "container", k.Name, "err", err)
			w.fail("", status.Reason{Reason: "FailedKillPod", Message: cri.Message(err)}, "")
		}
	})
}

// remove removes an old container or sandbox.
func (w *worker) remove(ctx context.Context, id string, do func(*core.Pod) error) {
	w.s.Busy.Remove[id] = true
	pod := w.s.Pod
	w.step(func() error { return do(pod) }, func(err error) {
		if err != nil && !cri.NotFound(err) {
			if ctx.Err() == nil {
				w.Log.Warn("old container not removed", "ns", pod.Namespace, "name", pod.Name, "id", id, "err", err)
			}
			time.AfterFunc(retryStep, func() { w.post(func() { delete(w.s.Busy.Remove, id) }) })
			return
		}
		delete(w.s.Busy.Remove, id)
		w.s.Runtime.DropContainer(id)
		w.s.Runtime.DropSandbox(id)
		w.Index.drop(id)
	})
}

// complain says once why a container waits.
func (w *worker) complain(p *Plan) {
	for name, why := range p.Waiting {
		if w.moaned[name] == why {
			continue
		}
		w.moaned[name] = why
		c, field := spec.FindContainer(w.s.Pod, name)
		switch why.Reason {
		case "CrashLoopBackOff":
			w.Events.Field(w.s.Pod, field, core.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s", name, spec.Name(w.s.Pod))
		case "ImagePullBackOff":
			w.Events.Field(w.s.Pod, field, core.EventTypeNormal, "BackOff", "Back-off pulling image %q", c.Image)
			w.Events.Field(w.s.Pod, field, core.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		}
	}
	for name := range w.moaned {
		if _, waits := p.Waiting[name]; !waits {
			delete(w.moaned, name)
		}
	}
}

// removeContainer removes a container and what belongs to it. Logs that are kept count the restarts, until the pod goes.
func (d *Deps) removeContainer(ctx context.Context, pod *core.Pod, o *observe.Container, keepLog bool) error {
	_, err := d.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: o.ID})
	if err != nil && !cri.NotFound(err) {
		return err
	}
	errs := []error{os.Remove(d.logLink(pod, o.Name, o.ID))}
	if o.LogPath != "" && !keepLog {
		errs = append(errs, os.Remove(o.LogPath))
	}
	if o.MessageFile != "" {
		errs = append(errs, os.Remove(o.MessageFile))
	}
	for _, err := range errs {
		if err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// cleanup stops what is left of a pod, and removes it if to is Removed.
func (w *worker) cleanup(ctx context.Context, to Cleanup) {
	w.s.Busy.Cleanup = true
	pod, have := w.s.Pod, w.s.Runtime
	have.Sandboxes = append([]observe.Sandbox(nil), have.Sandboxes...)
	have.Containers = append([]observe.Container(nil), have.Containers...)
	w.step(func() error { return w.clean(ctx, pod, &have, to) }, func(err error) {
		w.s.Busy.Cleanup = false
		for _, s := range have.Sandboxes {
			w.unread[s.ID] = true
		}
		if err != nil {
			if ctx.Err() == nil {
				w.Log.Warn("pod not cleaned up", "ns", pod.Namespace, "name", pod.Name, "err", err)
				w.fail("", status.Reason{Reason: "FailedKillPod", Message: cri.Message(err)}, "")
			}
			return
		}
		delete(w.s.Failed, "")
		w.s.Cleaned = to
		if to == Removed {
			for _, c := range have.Containers {
				w.Index.drop(c.ID)
			}
			for _, s := range have.Sandboxes {
				w.Index.drop(s.ID)
			}
		}
	})
}

func (d *Deps) clean(ctx context.Context, pod *core.Pod, have *observe.Pod, to Cleanup) error {
	for _, s := range have.Sandboxes {
		_, err := d.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.ID})
		if err != nil && !cri.NotFound(err) {
			return fmt.Errorf("stop the sandbox: %w", err)
		}
	}
	if err := d.users.Release(pod.UID); err != nil {
		return fmt.Errorf("release the user namespace: %w", err)
	}
	if d.Resources != nil {
		if err := d.Resources.Release(ctx, pod.UID); err != nil {
			return fmt.Errorf("release resources: %w", err)
		}
	}
	if to == Removed {
		for i := range have.Containers {
			if err := d.removeContainer(ctx, pod, &have.Containers[i], false); err != nil {
				return fmt.Errorf("remove container %s: %w", have.Containers[i].Name, err)
			}
		}
		for _, s := range have.Sandboxes {
			_, err := d.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.ID})
			if err != nil && !cri.NotFound(err) {
				return fmt.Errorf("remove the sandbox: %w", err)
			}
		}
		if err := os.RemoveAll(d.Node.LogDir(pod)); err != nil {
			return err
		}
	}
	return d.Volumes.Teardown(ctx, pod.UID, to == Removed)
}
