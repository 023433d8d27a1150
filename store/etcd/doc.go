// Package etcd implements store.Store on etcd, twice: Store is a member inside this process, alone in its cluster, without
// any listener; External is a client of a cluster that somebody else runs. Compactor forgets old history for both.
//
// The member calls etcd's server directly: writes go through raft (write-ahead log, fsync) with Txn, reads go straight to the
// multi-version index. A single member that has applied everything it acknowledged needs no read round to be linearizable:
// there is nobody else who could have accepted a newer write. It does not wait for an election with itself either: it hands
// itself raft's MsgTimeoutNow until it leads, a few milliseconds after the log is open.
//
// Progress: a Watch under a prefix hears only of its own keys, so a reader who needs "everything up to revision R has been
// delivered" asks Revision, which makes every open Watch that lags deliver an (empty) Batch of that revision. Nothing is
// sent when nobody asks.
//
// The data directory has etcd's own layout, so etcd's tools read it and the data of a one-member kubeadm cluster opens here:
//
//	<dir>/lock               held while a process uses the directory
//	<dir>/member/snap/db     the current values and their history (bbolt)
//	<dir>/member/wal/*.wal   what has been acknowledged, in 4 MB segments
//
// Imports store, etcd's server and client packages, and the standard library. Read member.go, then kv.go and watch.go.
package etcd
