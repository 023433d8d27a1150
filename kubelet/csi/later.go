package csi

import (
	"context"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"

	"proa.dev/client"
)

// How long a driver that did not unstage a volume is left alone.
const (
	unstageMin = 500 * time.Millisecond
	unstageMax = 2 * time.Minute
)

// releaseAgain has drivers unstage what they did not when its last pod went, until ctx ends.
func (s *Drivers) releaseAgain(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.unreleased:
		}
		for wait, left := unstageMin, true; left; wait = min(2*wait, unstageMax) {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				t.Stop()
				return ctx.Err()
			case <-s.unreleased: // another one
				wait = unstageMin
			case <-t.C:
				left = s.sweep("")
			}
			t.Stop()
		}
	}
}

// watchDrivers hears of CSIDrivers whose volumes are not to be attached any more, until ctx ends.
func (s *Drivers) watchDrivers(ctx context.Context) error {
	return client.Watch(ctx, s.View, func(_ client.EventType, now, _ *storage.CSIDriver) {
		if now == nil || attaches(now) {
			return
		}
		s.news.tell() // who waits for an attachment needs none
		s.mu.Lock()
		var these []*use
		for dev, u := range s.devices {
			if dev.driver == now.Name {
				these = append(these, u)
			}
		}
		s.mu.Unlock()
		for _, u := range these {
			if u.mu.TryLock() { // who holds it sees for himself
				s.letGo(u)
				u.mu.Unlock()
			}
		}
		if err := s.tellInUse(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("volumes in use not told", "node", s.Node, "err", err)
		}
	})
}

// attaches says whether a controller has to attach a driver's volumes first; nil is a driver that does not say.
func attaches(about *storage.CSIDriver) bool {
	return about == nil || about.Spec.AttachRequired == nil || *about.Spec.AttachRequired
}

// letGo forgets that a volume is attached. u.mu is held.
func (s *Drivers) letGo(u *use) {
	if u.attached == "" {
		return
	}
	s.mu.Lock()
	delete(s.inUse, u.attached)
	s.mu.Unlock()
	u.attached = core.UniqueVolumeName("")
}
