package stats

import (
	"sync"
	"time"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// remote asks file systems that may be somebody else's: one whose server is gone does not answer until it is back, and no signal ends the
// question. Each is asked once at a time, so that no more than one thread hangs for it.
type remote struct {
	mu    sync.Mutex // guards asked
	asked map[string]*question
}

// question is one that may be under way.
type question struct {
	done chan struct{} // closed once answer is there
	late bool          // somebody has waited in vain; guarded by remote.mu
	// answer is what statfs says; nil where it says nothing
	answer *stats.FsStats
}

// answerWithin is how long the answer is waited for by the first who asks.
const answerWithin = time.Second

// fileSystem is what statfs says of the file system at path; nil where it says nothing, or nothing in time.
func (r *remote) fileSystem(path string, now time.Time, statfs func(string, time.Time) *stats.FsStats) *stats.FsStats {
	r.mu.Lock()
	q := r.asked[path]
	if q == nil {
		q = &question{done: make(chan struct{})}
		if r.asked == nil {
			r.asked = map[string]*question{}
		}
		r.asked[path] = q
		go func() { // ends with the answer, which nobody may wait for any more
			q.answer = statfs(path, now)
			r.mu.Lock()
			delete(r.asked, path)
			r.mu.Unlock()
			close(q.done)
		}()
	}
	late := q.late
	r.mu.Unlock()
	if late {
		return nil
	}
	t := time.NewTimer(answerWithin)
	defer t.Stop()
	select {
	case <-q.done:
		return q.answer
	case <-t.C:
	}
	r.mu.Lock()
	q.late = true
	r.mu.Unlock()
	return nil
}
