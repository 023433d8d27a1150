package keeper

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAside: whatever runs at once, nothing of it runs on the first thread, whose namespaces are the process's.
func TestAside(t *testing.T) {
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			aside(func() {
				if unix.Gettid() == unix.Getpid() {
					t.Error("on the first thread")
				}
			})
		})
	}
	all.Wait()
}
