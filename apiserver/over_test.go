package apiserver

import (
	"context"
	"testing"
	"testing/synctest"
)

// What a request's end sets off has ended when done returns: the writer of the answer is gone soon after.
func TestWhenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun, goOn, over := make(chan struct{}), make(chan struct{}), false
		done := whenOver(ctx, func() {
			close(begun)
			<-goOn
			over = true
		})
		cancel()
		<-begun
		returned := false
		go func() {
			done()
			returned = true
		}()
		synctest.Wait()
		if returned {
			t.Error("done returns while it still runs")
		}
		close(goOn)
		synctest.Wait()
		if !returned || !over {
			t.Errorf("returned %v, over %v", returned, over)
		}
		ctx, cancel = context.WithCancel(t.Context())
		whenOver(ctx, func() { t.Error("runs after done") })()
		cancel()
		synctest.Wait()
	})
}
