package owners

import (
	"runtime"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Objects with the same set of fields have one between them, as long as any of them is there.
func TestShares(t *testing.T) {
	s := NewShares()
	entries := func(fields string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: "m", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}}
	}
	a, b, c := entries(`{"f:a":{}}`), entries(`{"f:a":{}}`), entries(`{"f:b":{}}`)
	for _, e := range [][]metav1.ManagedFieldsEntry{a, b, c} {
		s.Share(e)
	}
	if a[0].FieldsV1 != b[0].FieldsV1 || a[0].FieldsV1 == c[0].FieldsV1 {
		t.Error("what is the same is not shared, or what is not is")
	}
	if got := c[0].FieldsV1.GetRawString(); got != `{"f:b":{}}` {
		t.Errorf("after sharing: %s", got)
	}
	left := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.sets)
	}
	if n := left(); n != 2 {
		t.Fatalf("%d sets, want 2", n)
	}
	a, b = nil, nil
	for end := time.Now().Add(10 * time.Second); left() != 1; {
		if runtime.GC(); time.Now().After(end) {
			t.Fatalf("%d sets are left, want 1", left())
		}
		runtime.Gosched()
	}
	runtime.KeepAlive(c)
}
