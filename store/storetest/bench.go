package storetest

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"proa.dev/store"
)

// Bench measures durable compare-and-put of 1 KiB with 1, 16 and 64 writers.
func Bench(b *testing.B, s store.Store) {
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("put/%d", n), func(b *testing.B) { benchPut(b, s, n) })
	}
}

func benchPut(b *testing.B, s store.Store, writers int) {
	b.ReportAllocs()
	value := make([]byte, 1024)
	before := cpu(b)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			key := fmt.Sprintf("/bench/%d/%d", writers, i)
			rev := at(b.Context(), b, s, key)
			for range (b.N + writers - 1) / writers {
				var err error
				if rev, err = s.Apply(b.Context(), store.Write{Key: key, If: rev, Value: value}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// cpu is what this process has used so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
