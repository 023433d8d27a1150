package etcd

import (
	"time"
	_ "unsafe" // for linkname
)

// resyncEvery is how often etcd looks for watches that are behind, to feed them from the database: those that began before the
// newest revision, and those whose reader was too slow. Its own tenth of a second is half of what an idle member costs, and here is one
// reader, which is never slow and begins at the newest revision unless others write at that moment.
const resyncEvery = 500 * time.Millisecond

// watchResyncPeriod is a variable of etcd's that nobody but its tests can set otherwise.
//
//go:linkname watchResyncPeriod go.etcd.io/etcd/server/v3/storage/mvcc.watchResyncPeriod
var watchResyncPeriod time.Duration
