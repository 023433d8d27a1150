package lease

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordination "k8s.io/api/coordination/v1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

var name = object.Key{Namespace: "kube-system", Name: "proa-control"}

// server is one process that wants to lead.
type server struct {
	leading atomic.Bool
	stop    func()
	done    chan error
}

func start(a *controltest.API, identity string) *server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{stop: cancel, done: make(chan error, 1)}
	go func() {
		s.done <- Run(ctx, Deps{Client: a.Client(), View: a.View(), Name: name, Identity: identity}, func(ctx context.Context) error {
			s.leading.Store(true)
			defer s.leading.Store(false)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	return s
}

func TestOneLeadsAndHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		one := start(a, "one")
		time.Sleep(time.Second)
		two := start(a, "two")
		time.Sleep(time.Minute)
		if !one.leading.Load() || two.leading.Load() {
			t.Fatal("want the first to lead")
		}
		one.stop()
		if err := <-one.done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		time.Sleep(100 * time.Millisecond)
		if !two.leading.Load() {
			t.Error("the second does not lead 100 ms after the first stopped")
		}
		two.stop()
		<-two.done
	})
}

func TestDeadLeaderIsReplacedAndItsReturnIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		one := start(a, "one")
		time.Sleep(time.Second)
		a.Refuse(func(verb string, _ client.Target, _ object.Object) error { return errors.New("unreachable") })
		time.Sleep(11 * time.Second)
		if one.leading.Load() {
			t.Error("leads although it could not renew for 10 s")
		}
		one.stop()
		<-one.done
		a.Refuse(nil)
		again := start(a, "one") // the Lease still names it
		time.Sleep(time.Millisecond)
		if !again.leading.Load() {
			t.Error("the same identity has to wait for its own lease")
		}
		a.Refuse(func(verb string, _ client.Target, _ object.Object) error { return errors.New("unreachable") })
		again.stop()
		<-again.done
		a.Refuse(nil)
		two := start(a, "two")
		time.Sleep(10 * time.Second)
		if two.leading.Load() {
			t.Error("another took the lease before it ran out")
		}
		time.Sleep(10 * time.Second)
		if !two.leading.Load() {
			t.Error("nobody leads 20 s after the leader died")
		}
		l, _ := client.Lookup[coordination.Lease](a.View(), name)
		if *l.Spec.LeaseTransitions != 2 {
			t.Errorf("%d transitions, want 2", *l.Spec.LeaseTransitions)
		}
		two.stop()
		<-two.done
	})
}

func TestFailureOfTheWorkIsTheResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		boom := errors.New("boom")
		err := Run(t.Context(), Deps{Client: a.Client(), View: a.View(), Name: name, Identity: "x"}, func(context.Context) error { return boom })
		if !errors.Is(err, boom) {
			t.Errorf("got %v, want boom", err)
		}
	})
}
