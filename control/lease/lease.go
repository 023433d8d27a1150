package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// DefaultDuration is how long a lease holds without being renewed.
const DefaultDuration = 15 * time.Second

// Deps is what Run needs.
type Deps struct {
	Client   client.Client
	View     client.View
	Name     object.Key // of the Lease: kube-system/proa-control
	Identity string
	Duration time.Duration // 0 is DefaultDuration; at least 3 s. Renewed three times in it
	Log      *slog.Logger
}

// Run waits for the lease, runs lead while it holds it, and starts over when it lost it. lead's context ends when the lease may be lost;
// lead has to return then, and is waited for. If lead returns before, its error (or one that says so) is Run's. Run ends with ctx.
func Run(ctx context.Context, d Deps, lead func(ctx context.Context) error) error {
	if d.Duration == 0 {
		d.Duration = DefaultDuration
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Identity == "" || d.Duration < 3*time.Second {
		return fmt.Errorf("lease %s: identity %q, duration %v: need a name and at least 3s", d.Name, d.Identity, d.Duration)
	}
	c := candidate{Deps: d, changed: make(chan struct{}, 1)}
	watching := make(chan error, 1)
	watchCtx, stop := context.WithCancel(ctx)
	defer func() { stop(); <-watching }() // the watch ends with Run
	go func() { watching <- c.watch(watchCtx) }()
	for {
		if err := c.acquire(ctx); err != nil {
			return err
		}
		d.Log.Info("leading", "lease", d.Name.String(), "identity", d.Identity)
		err := c.hold(ctx, lead)
		if ctx.Err() != nil {
			c.release(ctx)
			return ctx.Err()
		}
		if !errors.Is(err, errLost) {
			c.release(ctx)
			return err
		}
		d.Log.Warn("lost the lease", "lease", d.Name.String(), "identity", d.Identity)
	}
}

var errLost = errors.New("the lease was lost")

type candidate struct {
	Deps
	changed chan struct{} // holds a token when the Lease has changed

	// What was last seen of the Lease, and when by our clock. Used by acquire's goroutine only.
	record string
	seen   time.Time
}

func (c *candidate) watch(ctx context.Context) error {
	return client.Watch[coordination.Lease](ctx, c.View, func(_ client.EventType, now, _ *coordination.Lease) {
		if now == nil || object.KeyOf(now) != c.Name {
			return
		}
		select {
		case c.changed <- struct{}{}:
		default:
		}
	})
}

// acquire returns nil when the lease is ours.
func (c *candidate) acquire(ctx context.Context) error {
	for {
		wait, err := c.try(ctx)
		if err == nil && wait == 0 {
			return nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
				c.Log.Warn("acquire", "lease", c.Name.String(), "err", err)
			}
			wait = jitter(time.Second)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		case <-c.changed:
		}
	}
}

// jitter is d and up to a fifth more, so that candidates do not all come at the same time.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/5+1) }

// try takes the lease if it is free; otherwise wait is how long it holds at least.
func (c *candidate) try(ctx context.Context) (wait time.Duration, err error) {
	have, err := client.Get[coordination.Lease](ctx, c.Client, c.Name)
	if apierrors.IsNotFound(err) {
		l := &coordination.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: c.Name.Namespace, Name: c.Name.Name}}
		c.take(l, true)
		_, err = client.Create(ctx, c.Client, l)
		return 0, err
	}
	if err != nil {
		return 0, err
	}
	holder := deref(have.Spec.HolderIdentity)
	if holder != "" && holder != c.Identity {
		if record := have.ResourceVersion; record != c.record {
			c.record, c.seen = record, time.Now()
		}
		held := time.Duration(deref(have.Spec.LeaseDurationSeconds)) * time.Second
		if left := time.Until(c.seen.Add(held)); left > 0 {
			return jitter(left), nil
		}
	}
	l := object.Clone(have)
	c.take(l, holder != c.Identity)
	_, err = client.Update(ctx, c.Client, l)
	return 0, err
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// take makes l ours from now on.
func (c *candidate) take(l *coordination.Lease, anew bool) {
	now := metav1.NowMicro()
	l.Spec.HolderIdentity = &c.Identity
	l.Spec.LeaseDurationSeconds = new(int32(c.Duration / time.Second))
	l.Spec.RenewTime = &now
	if anew {
		l.Spec.AcquireTime = &now
		l.Spec.LeaseTransitions = new(deref(l.Spec.LeaseTransitions) + 1)
	}
}

// hold runs lead and renews the lease until one of them ends. errLost says that it was the lease.
func (c *candidate) hold(ctx context.Context, lead func(context.Context) error) error {
	leading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- lead(leading) }() // hold waits for it
	renewed := time.Now()
	tick := time.NewTicker(c.Duration / 3)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err == nil && ctx.Err() == nil {
				err = errors.New("the leader's work ended unexpectedly")
			}
			return err
		case <-tick.C:
		}
		err := c.renew(ctx)
		if err == nil {
			renewed = time.Now()
			continue
		}
		// two thirds of the duration, so that we have stopped before anybody else may start
		if errors.Is(err, errLost) || time.Since(renewed) >= c.Duration*2/3 {
			stop()
			<-done
			return errLost
		}
		c.Log.Warn("renew", "lease", c.Name.String(), "err", err)
	}
}

func (c *candidate) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Duration/4)
	defer cancel()
	have, err := client.Get[coordination.Lease](ctx, c.Client, c.Name)
	if apierrors.IsNotFound(err) || err == nil && deref(have.Spec.HolderIdentity) != c.Identity {
		return errLost
	}
	if err != nil {
		return err
	}
	l := object.Clone(have)
	c.take(l, false)
	_, err = client.Update(ctx, c.Client, l)
	return err
}

// release lets the next one start at once. It is a courtesy: whatever fails, the lease runs out.
func (c *candidate) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	have, err := client.Get[coordination.Lease](ctx, c.Client, c.Name)
	if err != nil || deref(have.Spec.HolderIdentity) != c.Identity {
		return
	}
	l := object.Clone(have)
	l.Spec.HolderIdentity = new(string)
	l.Spec.LeaseDurationSeconds = new(int32(1))
	if _, err := client.Update(ctx, c.Client, l); err != nil {
		c.Log.Info("release", "lease", c.Name.String(), "err", err)
	}
}
