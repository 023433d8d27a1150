package etcd

import (
	"testing"
	"time"
)

// What the variable holds before anything of this package runs.
var resyncOfEtcd = watchResyncPeriod

// TestResyncIsEtcds fails if etcd has given its variable another name: then ours is one of our own, and setting it does nothing.
func TestResyncIsEtcds(t *testing.T) {
	if resyncOfEtcd != 100*time.Millisecond {
		t.Errorf("etcd looks for watches that are behind every %s, want 100ms", resyncOfEtcd)
	}
}
