package cache

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"proa.dev/apiserver/codec"
)

// verifying is on with PROA_VERIFY=1, and in tests unless PROA_VERIFY=0: then every frozen object is compared with what
// it was, when it leaves the cache and now and then before.
var verifying = os.Getenv("PROA_VERIFY") == "1" || os.Getenv("PROA_VERIFY") == "" && strings.HasSuffix(os.Args[0], ".test")

// prove remembers what the object is.
func (it *Item) prove() {
	if verifying && it.proof == nil {
		it.proof = it.snapshot()
	}
}

// verify panics if somebody has changed the object. That is a mistake in the code of whoever read it, and everything that
// the process does from there on would be built on it.
func (it *Item) verify() {
	if !verifying || it.proof == nil {
		return
	}
	if now := it.snapshot(); !bytes.Equal(now, it.proof) {
		panic(fmt.Sprintf("frozen %s %s was changed by a reader; handed out, and now:\n%s", it.kind.Kind, it.Key, difference(it.proof, now)))
	}
}

// difference shows both where they begin to differ, with what is around. (A library that compares in tests would do it more nicely, and
// keep every method of every type in the program, since it looks at methods by reflection.)
func difference(was, is []byte) string {
	const around = 160
	at := 0
	for at < min(len(was), len(is)) && was[at] == is[at] {
		at++
	}
	part := func(b []byte) []byte { return b[max(0, at-around):min(len(b), at+around)] }
	return fmt.Sprintf("-%s\n+%s", part(was), part(is))
}

func (it *Item) snapshot() []byte {
	e, err := codec.Encode(it.Object, codec.JSON)
	if err != nil {
		return []byte(err.Error())
	}
	return e.Bytes
}

// verifyEvery is how often everything is verified, where verification is on.
const verifyEvery = 2 * time.Second

// Verify compares every object with what it was; without PROA_VERIFY it does nothing.
func (c *Cache) Verify() {
	if !verifying {
		return
	}
	for _, s := range c.shelves() {
		s.mu.RLock()
		snap := s.sorted.Clone()
		s.mu.RUnlock()
		snap.Ascend(func(it *Item) bool { it.verify(); return true })
	}
}
