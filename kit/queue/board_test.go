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
		b.Each(func(name string, n Numbers) { got = append(got, fmt.Sprintf("%s %+v", name, n)) })
		want := []string{"jobs {Adds:4 Retries:1 Depth:1 Unfinished:3s Longest:3s}"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		q.Done(first)
		if n := q.Numbers(); n.Depth != 2 || n.Adds != 4 || n.Unfinished != 0 {
			t.Errorf("got %+v", n)
		}
	})
}
