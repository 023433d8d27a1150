package etcd

import (
	"testing"
	"time"
)

// What the variable holds before anything of this package runs.
var resyncOfEtcd, aheadOfEtcd = watchResyncPeriod, chanBufLen

// TestResyncIsEtcds fails if etcd has given its variable another name: then ours is one of our own, and setting it does nothing.
func TestResyncIsEtcds(t *testing.T) {
	if resyncOfEtcd != 100*time.Millisecond {
		t.Errorf("etcd looks for watches that are behind every %s, want 100ms", resyncOfEtcd)
	}
	if aheadOfEtcd != 128 {
		t.Errorf("etcd keeps %d revisions for a reader, want 128", aheadOfEtcd)
	}
}
