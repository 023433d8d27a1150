package queue

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		ctx := b.With(t.Context())
		q := New[string](time.Second, time.Minute)
		q.Show(ctx, "jobs")
		New[int](time.Second, time.Minute).Show(t.Context(), "elsewhere")
		for _, k := range []string{"a", "b", "a", "c"} {
			q.Add(k)
		}
		first, _ := q.Next(ctx)
		second, _ := q.Next(ctx)
		time.Sleep(3 * time.Second)
		q.Add(first)
		q.Add(first)
		q.Done(second)
		q.Retry(second)
		var got []string
		b.Each(func(name string, n Numbers) {
			got = append(got, fmt.Sprintf("%s %d added, %d again, %d wait, %v %v, %d waited, %d worked on", name, n.Adds, n.Retries, n.Depth, n.Unfinished, n.Longest, n.Waited.Count(), n.Worked.Count()))
		})
		want := []string{"jobs 4 added, 1 again, 1 wait, 3s 3s, 2 waited, 1 worked on"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		q.Done(first)
		if n := q.Numbers(); n.Depth != 2 || n.Adds != 4 || n.Unfinished != 0 {
			t.Errorf("got %+v", n)
		}
	})
}
