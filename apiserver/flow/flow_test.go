package flow

import "testing"

func TestLimiterRefusesBeyondItsBound(t *testing.T) {
	l := &Limiter{Reads: 2, Writes: 1}
	a, ok := l.Enter(false)
	if !ok {
		t.Fatal("the first read was refused")
	}
	if _, ok = l.Enter(false); !ok {
		t.Fatal("the second read was refused")
	}
	if _, ok = l.Enter(false); ok {
		t.Error("the third read was admitted")
	}
	if _, ok = l.Enter(true); !ok {
		t.Error("reads took the place of writes")
	}
	a()
	if _, ok = l.Enter(false); !ok {
		t.Error("no room after one has left")
	}
	if r, w := l.Refused(); r != 1 || w != 0 {
		t.Errorf("refused %d reads and %d writes, want 1 and 0", r, w)
	}
}
