package control_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

// steps is a Reconciler that does what it is told and notes when.
type steps struct {
	mu    sync.Mutex // guards log
	log   []string   // "2s a"
	begin time.Time
	do    func(key object.Key, n int) (control.Again, error) // n counts from 1
}

func (s *steps) Reconcile(_ context.Context, key object.Key) (control.Again, error) {
	s.mu.Lock()
	s.log = append(s.log, time.Since(s.begin).String()+" "+key.Name)
	n := len(s.log)
	s.mu.Unlock()
	return s.do(key, n)
}

func (s *steps) want(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.log, ", "); got != strings.Join(want, ", ") {
		t.Errorf("got %s, want %s", got, strings.Join(want, ", "))
	}
	s.log = nil
}

func startLoop(t *testing.T, l control.Loop, do func(object.Key, int) (control.Again, error)) (*controltest.API, *steps) {
	a := controltest.New(t)
	a.Serve(&core.ConfigMap{}, &core.Pod{}, &apps.ReplicaSet{})
	s := &steps{begin: time.Now(), do: do}
	l.Name, l.View, l.Do = "test", a.View(), s
	controltest.Run(t, l.Run)
	synctest.Wait()
	return a, s
}

func configMap(name string) *core.ConfigMap {
	return &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func done(object.Key, int) (control.Again, error) { return control.Done, nil }

func TestAgainRetryAndPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := startLoop(t, control.Loop{Sources: []control.Source{control.Self[core.ConfigMap]()}}, func(_ object.Key, n int) (control.Again, error) {
			switch n {
			case 1:
				return control.Again(time.Minute), nil
			case 2:
				return control.Done, errors.New("no")
			case 3:
				panic("a bug")
			}
			return control.Done, nil
		})
		a.Put(configMap("a"))
		time.Sleep(time.Hour)
		s.want(t, "0s a", "1m0s a", "1m0.005s a", "1m0.015s a")
	})
}

func TestOvertakenIsTriedAgainQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := startLoop(t, control.Loop{Sources: []control.Source{control.Self[core.ConfigMap]()}}, func(_ object.Key, n int) (control.Again, error) {
			if n == 1 {
				return control.Done, apierrors.NewConflict(client.Resource{Resource: "configmaps"}.GroupResource(), "a", errors.New("x"))
			}
			return control.Done, nil
		})
		a.Put(configMap("a"))
		time.Sleep(time.Hour)
		s.want(t, "0s a", "5ms a")
	})
}

func TestSettleFoldsABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := startLoop(t, control.Loop{Settle: 100 * time.Millisecond, Sources: []control.Source{control.Self[core.ConfigMap]()}}, done)
		for range 10 {
			a.Put(configMap("a"))
			time.Sleep(30 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		s.want(t, "100ms a", "220ms a", "340ms a")
	})
}

func TestOwnersBeforeAndAfterAreWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := startLoop(t, control.Loop{Workers: 1, Sources: []control.Source{control.ControlledBy[core.Pod, apps.ReplicaSet]()}}, done)
		owner := func(name, kind string) []metav1.OwnerReference {
			return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: new(true)}}
		}
		p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", OwnerReferences: owner("one", "ReplicaSet")}}
		a.Put(p)
		synctest.Wait()
		s.want(t, "0s one")
		p.OwnerReferences = owner("two", "ReplicaSet")
		a.Put(p)
		synctest.Wait()
		s.want(t, "0s two", "0s one")
		p.OwnerReferences = owner("three", "Job")
		a.Put(p)
		synctest.Wait()
		s.want(t, "0s two")
	})
}

func TestWatchThatFailsEndsTheLoop(t *testing.T) {
	l := control.Loop{Name: "test", View: brokenView{}, Do: &steps{}, Sources: []control.Source{control.Self[core.ConfigMap]()}}
	if err := l.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "test: watch configmaps: broken") {
		t.Errorf("got %v", err)
	}
}

type brokenView struct{ client.View }

func (brokenView) Watch(context.Context, client.Resource, func(client.Event)) error {
	return errors.New("broken")
}
