package etcd

import (
	"time"
	_ "unsafe" // for linkname
)

// resyncEvery is how often etcd looks for watches that are behind, to feed them from the database: those that began before the
// newest revision, and those whose reader was too slow. Its own tenth of a second is half of what an idle member costs, and here is one
// reader, which is never slow and begins at the newest revision unless others write at that moment.
const resyncEvery = 500 * time.Millisecond

// aheadOfReader is how many revisions may wait for the reader of all watches before etcd takes it for slow, and feeds it from the database, with
// a stop of up to resyncEvery. Its own 128 are less than a burst of writes.
const aheadOfReader = 2048

// chanBufLen is a variable of etcd's, too.
//
//go:linkname chanBufLen go.etcd.io/etcd/server/v3/storage/mvcc.chanBufLen
var chanBufLen int

// watchResyncPeriod is a variable of etcd's that nobody but its tests can set otherwise.
//
//go:linkname watchResyncPeriod go.etcd.io/etcd/server/v3/storage/mvcc.watchResyncPeriod
var watchResyncPeriod time.Duration
