package evict

import (
	"math"
	"testing"
)

// FuzzAmount: what is read as an amount is one.
func FuzzAmount(f *testing.F) {
	for _, s := range []string{"100Mi", "10%", "0%", "NaN%", "-1", "1e400", "%", "0x1p-2%", "9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := amount(s)
		if err != nil {
			return
		}
		if math.IsNaN(a.Part) || a.Part < 0 || a.Part > 1 || a.Number < 0 || a.of(1<<40) < 0 {
			t.Errorf("%q: %+v", s, a)
		}
	})
}
