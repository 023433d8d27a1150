package etcd

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"proa.dev/store"
)

// space refuses writes while there is still room to delete, compact and stop cleanly.
type space struct {
	dir     string
	quota   int64 // bytes of the database in use
	minFree int64 // bytes of the disk; < 0: no check

	mu    sync.Mutex // guards below
	inUse int64      // what the database said last
	since int64      // bytes of writes that went on since it says so: it counts them a batch later
	next  time.Time  // look at the disk again then
	last  error
}

const lookEvery = time.Second

// check says whether a write of size bytes may go on; inUse is the size of the live database. The disk is looked at once a
// second at most.
func (s *space) check(size, inUse int64, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if inUse != s.inUse {
		s.inUse, s.since = inUse, 0
	}
	if inUse+s.since+size > s.quota {
		return fmt.Errorf("store in %s: %w: %d MB of data, the limit is %d MB; delete objects (deletes still work) or raise the "+
			"quota", s.dir, store.ErrNoSpace, (inUse+s.since)>>20, s.quota>>20)
	}
	s.since += size
	if s.minFree < 0 {
		return nil
	}
	if now.Before(s.next) {
		return s.last
	}
	s.next, s.last = now.Add(lookEvery), nil
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &st); err != nil {
		return nil // the write itself will say what is wrong with the disk
	}
	if free := int64(st.Bavail) * st.Bsize; free < s.minFree {
		s.last = fmt.Errorf("store in %s: %w: the disk has %d MB left, writes need %d MB; free some space there", s.dir,
			store.ErrNoSpace, free>>20, s.minFree>>20)
	}
	return s.last
}
