package stats

import (
	"testing"
	"testing/synctest"
	"time"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// TestServerThatIsGone: a file system that does not answer is waited for once, asked once, and asked again when it has answered.
func TestServerThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r remote
		asked, back := 0, make(chan struct{})
		hang := func(string, time.Time) *stats.FsStats {
			asked++
			<-back
			return &stats.FsStats{}
		}
		begin := time.Now()
		for range 5 {
			if got := r.fileSystem("/far", begin, hang); got != nil {
				t.Errorf("got %v", got)
			}
		}
		if took := time.Since(begin); took != answerWithin || asked != 1 {
			t.Errorf("five questions took %v, and asked %d times", took, asked)
		}
		if got := r.fileSystem("/near", begin, func(string, time.Time) *stats.FsStats { return &stats.FsStats{} }); got == nil {
			t.Error("another file system is not asked")
		}
		close(back)
		synctest.Wait()
		if got := r.fileSystem("/far", begin, hang); got == nil || asked != 2 {
			t.Errorf("when it is back: %v, asked %d times", got, asked)
		}
	})
}
