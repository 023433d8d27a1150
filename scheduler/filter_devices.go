package scheduler

import (
	"context"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"

	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/object"
	"proa.dev/scheduler/devices"
)

// claimable keeps a pod where the devices are that it claims.
func claimable(k *class, n *node) *verdict {
	if k.devices == nil {
		return nil
	}
	if reason := k.devices.Try(n.obj); reason != "" {
		return k.no(reason, byDevices|byNode, false)
	}
	return nil
}

// byClaim says whether an extended resource that a node has none of may be claimed instead.
func (k *class) byClaim(n *node, name string) bool {
	return k.devices != nil && n.alloc.scalar[name] == 0 && k.devices.ByClass(core.ResourceName(name))
}

// problem is why a pod fits on no node whatsoever; "" if there is no such reason.
func (k *class) problem() (string, trouble) {
	switch {
	case k.claims != nil && k.claims.problem != "":
		return k.claims.problem, byVolume
	case k.devices != nil && k.devices.Problem != "":
		return k.devices.Problem, byDevices
	}
	return "", 0
}

// deviceSources are the watches for what claims are made of, if the API has it.
func (s *Scheduler) deviceSources() []run.Component {
	carried := func(r client.Resource) bool {
		return slices.ContainsFunc(s.view.Resources(), func(have object.Resource) bool { return have.GroupVersionResource == r })
	}
	for _, r := range devices.Resources() {
		if !carried(r) {
			return nil
		}
	}
	out := []run.Component{
		{Name: "watch resource claims", Run: func(ctx context.Context) error {
			return follow(ctx, s, func(_ client.EventType, _, _ *resource.ResourceClaim, now time.Time) { s.queue.helped(byDevices, now) })
		}},
		{Name: "watch resource slices", Run: func(ctx context.Context) error {
			return follow(ctx, s, func(_ client.EventType, _, _ *resource.ResourceSlice, now time.Time) { s.queue.helped(byDevices, now) })
		}},
		{Name: "watch device classes", Run: func(ctx context.Context) error {
			return follow(ctx, s, func(_ client.EventType, _, _ *resource.DeviceClass, now time.Time) {
				s.devices.Classes()
				s.queue.helped(byDevices|byResources, now)
			})
		}},
	}
	if carried(object.ResourceOf[resource.DeviceTaintRule]()) { // younger than the others
		out = append(out, run.Component{Name: "watch device taint rules", Run: func(ctx context.Context) error {
			return follow(ctx, s, func(_ client.EventType, _, _ *resource.DeviceTaintRule, now time.Time) {
				s.queue.helped(byDevices, now)
			})
		}})
	}
	return out
}

// prepare brings about what has to be in the API before a pod is bound.
func (s *Scheduler) prepare(ctx context.Context, b *bind) error {
	if len(b.claims) > 0 {
		if err := s.provision(ctx, b); err != nil {
			return err
		}
	}
	if b.devices == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, devices.Limit)
	defer cancel()
	return b.devices.Write(ctx, s.api, s.view, func() {
		s.events.Event(b.w.pod, core.EventTypeNormal, "BindingConditionsPending", "waiting for binding conditions for device on node %s", b.node)
	})
}

// unclaim takes in how the claims of a binding went, and takes them back if it failed.
func (s *Scheduler) unclaim(b *bind, err error) {
	if b.devices == nil {
		return
	}
	s.devices.Done(b.devices, err)
	if err == nil {
		return
	}
	s.chore(func(ctx context.Context) {
		if err := b.devices.Undo(ctx, s.api); err != nil && ctx.Err() == nil {
			s.log.Warn("take claims back", "ns", b.w.pod.Namespace, "name", b.w.pod.Name, "err", err)
		}
	})
}

// free takes devices from a claim that holds them where the pod cannot go.
func (s *Scheduler) free(k *class) {
	if k.devices == nil {
		return
	}
	c := k.devices.Useless()
	if c == nil {
		return
	}
	s.chore(func(ctx context.Context) {
		if err := devices.Free(ctx, s.api, c); err != nil && ctx.Err() == nil {
			s.log.Warn("free the devices of a claim", "ns", c.Namespace, "name", c.Name, "err", err)
		}
	})
}

// chore has something done that the loop must not wait for. When there is too much of it, it is left to the next attempt.
func (s *Scheduler) chore(fn func(context.Context)) {
	select {
	case s.chores <- fn:
	default:
	}
}
