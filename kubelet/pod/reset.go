package pod

import (
	"fmt"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// resetBack is the name under which the back-off of restarts of all containers stands.
const resetBack = "*"

// resetAll has all containers but the ephemeral ones end and removed, once one has ended in a way that asks for it; the one that did so
// is removed last, so that it is known after a restart of the process what was under way. It is false if nothing of it is to be done.
func resetAll(s *State, p *Plan) bool {
	source := resetSource(s)
	if source == nil && !s.Reset {
		return false
	}
	if source != nil && !s.Reset {
		if at := s.Back[resetBack].until(source.Finished, ""); s.Now.Before(at) {
			p.wake(at)
			return false // start tells why the container waits
		}
	}
	var running, left []*observe.Container
	for i := range s.Runtime.Containers {
		o := &s.Runtime.Containers[i]
		if isEphemeral(s.Pod, o.Name) {
			continue
		}
		left = append(left, o)
		if o.State == observe.Running || o.State == observe.Unknown {
			running = append(running, o)
		}
	}
	if len(left) == 0 && len(s.Busy.Start) == 0 {
		return false // Plan.Reset is false again: it is done, and everything starts
	}
	p.Reset, p.Cancel = true, len(s.Busy.Start) > 0
	for _, o := range running {
		if _, busy := s.Busy.Kill[o.ID]; !busy {
			p.Kill = append(p.Kill, Kill{ID: o.ID, Name: o.Name, Message: fmt.Sprintf("Container %s is stopped: all containers of the pod start anew", o.Name)})
		}
	}
	if len(running) > 0 || len(s.Busy.Start) > 0 {
		return true
	}
	purge := func(wanted func(*observe.Container) bool) {
		for _, o := range left {
			if wanted(o) && !s.Busy.Remove[o.ID] {
				p.Purge = append(p.Purge, o.ID)
			}
		}
	}
	isSource := func(o *observe.Container) bool { return source != nil && o.ID == source.ID }
	if len(left) == 1 && source != nil {
		purge(isSource)
	} else {
		purge(func(o *observe.Container) bool { return !isSource(o) })
	}
	return true
}

// resetSource is a container that has ended so that all have to start anew; nil if there is none.
func resetSource(s *State) *observe.Container {
	for _, list := range [][]core.Container{s.Pod.Spec.InitContainers, s.Pod.Spec.Containers} {
		for i := range list {
			if o := s.Runtime.Latest(list[i].Name); o != nil && o.State == observe.Exited && status.RestartsAll(&list[i], o.ExitCode) {
				return o
			}
		}
	}
	return nil
}

func isEphemeral(pod *core.Pod, name string) bool {
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}

// waitsForReset says until when a container that has ended waits for the restart of all.
func waitsForReset(s *State, c *core.Container, o *observe.Container) (time.Time, bool) {
	if o == nil || o.State != observe.Exited || !status.RestartsAll(c, o.ExitCode) {
		return time.Time{}, false
	}
	return s.Back[resetBack].until(o.Finished, ""), true
}

// backingOff is the reason of a container that waits to be started again.
func backingOff(s *State, c *core.Container, delay time.Duration) status.Reason {
	return status.Reason{
		Reason:  "CrashLoopBackOff",
		Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", delay, c.Name, spec.Name(s.Pod)),
	}
}

// resets follows what a plan says of a restart of all containers.
func (w *worker) resets(p *Plan) {
	if p.Reset == w.s.Reset {
		return
	}
	if p.Reset {
		if o := resetSource(&w.s); o != nil {
			w.s.Back[resetBack] = w.s.Back[resetBack].next(o.Finished, "", w.s.Now, w.MaxBackOff)
		}
		w.Log.Info("all containers start anew", "ns", w.s.Pod.Namespace, "name", w.s.Pod.Name)
	}
	w.s.Reset = p.Reset
}
