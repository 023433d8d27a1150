// Package cache keeps the one decoded, frozen copy of every stored object, and tells of its changes. One watch of the store
// feeds it. It is what the whole process reads: the rest verbs, every HTTP watcher, and through client.View the scheduler, the
// controllers and the node agent.
//
// A Shelf holds the objects of one resource: a map by key, a copy-on-write tree in the store's key order (a reader takes a
// snapshot and walks it without a lock), indexes by owner and by node, and a log.
//
// The log is the heart of fan-out: a linked list of events that only grows at its end. A watcher is a position in it and a
// bell. Publishing appends one node and rings the bells; every watcher then walks on at its own pace, takes all that
// has gathered in one go, and shares the encoding of each object with all others. Nobody has a queue of their own, so a slow
// watcher costs nothing but the list behind it; when the log is trimmed, watchers too far back are cut off.
//
// Objects are written through the cache: it hands the writer's own object to the shelf when the store's watch tells of the
// write, so what was written here is never decoded again, and Write returns when every reader can see it.
//
// It imports store, kinds, client, object, codec and owners. Read shelf.go, then cache.go.
package cache
