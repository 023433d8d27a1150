package store

import (
	"context"
	"errors"
	"fmt"
)

// Store keeps values under keys. Every successful write gets a revision greater than all before it, across all keys.
type Store interface {
	// Get reads one key, as of the latest revision (linearizable). ErrNotFound if there is none.
	Get(ctx context.Context, key string) (KV, error)
	// List reads keys with a prefix in key byte order.
	List(ctx context.Context, prefix string, opt ListOptions) (Page, error)
	// Apply makes one write, durable when Apply returns, or returns *Conflict and changes nothing.
	Apply(ctx context.Context, w Write) (rev int64, err error)
	// Revision is the latest revision, linearizable: at least that of every write that returned before the call. It makes every
	// open Watch deliver soon, with an empty Batch if it has to, how far it is: at least to that revision.
	Revision(ctx context.Context) (int64, error)
	// Watch calls fn with batches of the changes under prefix, all revisions > after, in revision order, none twice, until ctx
	// ends (nil), fn returns an error (that error), or the watch breaks (an error; ErrCompacted if after is too old). All
	// changes of one revision come in one batch. fn runs on the caller's goroutine.
	Watch(ctx context.Context, prefix string, after int64, fn func(Batch) error) error
	// Compact forgets the history before rev; the current values stay.
	Compact(ctx context.Context, rev int64) error
}

// Staler is a Store that may keep values in a form that it would not write today: encrypted with an older key, or not at all.
type Staler interface {
	// Stale says whether that is so of a key. Writing its value anew, even unchanged, ends it.
	Stale(ctx context.Context, key string) (bool, error)
}

// KV is one key as it is at a revision.
type KV struct {
	Key   string
	Value []byte
	Rev   int64 // revision of the last write to this key
}

// ListOptions bound a List. The zero value means everything, now.
type ListOptions struct {
	Rev   int64  // read as of this revision; 0 is the latest
	From  string // first key to return, inclusive; "" is the prefix itself
	Limit int    // at most so many; 0 is no limit
}

// Page is the answer of a List.
type Page struct {
	KVs   []KV
	Rev   int64 // the revision that the whole page was read at
	Count int64 // keys from From on, in all, whatever Limit
}

// Absent as the precondition of a Write means: the key must not exist.
const Absent int64 = 0

// Write is one compare-and-put or compare-and-delete.
type Write struct {
	Key    string
	If     int64 // the key must be at this revision; Absent: must not exist
	Value  []byte
	Delete bool // delete instead of put
}

// Batch is the changes of one or more consecutive revisions. Events may be empty: then it says only how far the store is.
type Batch struct {
	Events []Event
	Rev    int64 // everything up to and including this revision has been delivered
}

// Event is one change of one key.
type Event struct {
	KV     // for a delete: Value is nil, Rev is the revision of the delete
	Delete bool
}

// Errors of a Store. Test with errors.Is.
var (
	ErrNotFound  = errors.New("key not found")
	ErrCompacted = errors.New("required revision has been compacted")
	ErrFuture    = errors.New("required revision is a future revision")
	ErrTooLarge  = errors.New("the value is too large to store")
	ErrNoSpace   = errors.New("no space left for the store")
)

// Conflict says that the precondition of a Write did not hold, and how the key stands instead.
type Conflict struct {
	Key     string
	Current *KV // nil: the key does not exist
}

func (c *Conflict) Error() string {
	if c.Current == nil {
		return fmt.Sprintf("write %s: the key does not exist", c.Key)
	}
	return fmt.Sprintf("write %s: the key is at revision %d", c.Key, c.Current.Rev)
}
