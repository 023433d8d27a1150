package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneKeyOneWorker(t *testing.T) {
	q := New[string](time.Millisecond, time.Second)
	q.Add("a")
	q.Add("a")
	k, _ := q.Next(t.Context())
	q.Add("a") // while being worked on
	if n := q.Len(); n != 0 {
		t.Fatalf("%d keys due while the only one is being worked on", n)
	}
	q.Done(k)
	if n := q.Len(); n != 1 {
		t.Fatalf("%d keys due after Done, want 1", n)
	}
	q.Next(t.Context())
	q.Done("a")
	if n := q.Len(); n != 0 {
		t.Fatalf("%d keys due at the end, want 0", n)
	}
}

func TestRetryDoublesUpToTheMaximum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[int](time.Second, 5*time.Second)
		for _, want := range []time.Duration{1, 2, 4, 5, 5} {
			start := time.Now()
			q.Retry(1)
			q.Next(t.Context())
			q.Done(1)
			if got := time.Since(start); got != want*time.Second {
				t.Errorf("waited %v, want %vs", got, int(want))
			}
		}
		q.Forget(1)
		if q.Tries(1) != 0 {
			t.Error("Forget kept the count")
		}
	})
}

func TestEarliestDelayCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[int](time.Second, time.Second)
		start := time.Now()
		q.AddAfter(1, time.Minute)
		q.AddAfter(1, time.Second)
		q.AddAfter(1, time.Hour)
		q.Next(t.Context())
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if k, ok := New[int](1, 1).Next(ctx); ok {
			t.Errorf("got key %v from an empty queue", k)
		}
	})
}
