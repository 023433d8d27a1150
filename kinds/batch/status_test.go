package batch

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSameTime(t *testing.T) {
	second := metav1.Unix(1_700_000_000, 0)
	within, next := metav1.NewTime(second.Add(time.Millisecond)), metav1.NewTime(second.Add(time.Second))
	for _, c := range []struct {
		name string
		a, b *metav1.Time
		want bool
	}{
		{"both unset", nil, nil, true},
		{"one unset", &second, nil, false},
		{"parts of a second, which JSON does not carry", &second, &within, true},
		{"the next second", &second, &next, false},
	} {
		if got := sameTime(c.a, c.b); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
