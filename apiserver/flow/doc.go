// Package flow shares the API server out: API priority and fairness (KEP-1040). A request is classified by the FlowSchemas into a priority
// level and a flow; each level has seats, and borrows those that others do not use; who finds no seat waits in one of a few queues that
// its flow was dealt, and the queues are served fairly by seat-seconds. So a client that floods the server waits for itself.
//
//	place := sharer.Classify(&request)                              // which schema and level
//	ticket, err := sharer.Enter(ctx, place, &request, work, wait)   // *Refused: 429
//	defer ticket.Leave()
//
// Where nobody waits, this takes well under a microsecond and no memory. Nothing runs in the background while nobody has to wait:
// seats are lent anew every ten seconds from the first request that had to wait until the division is the idle one again.
//
// Calls without a wire, of the controllers, the scheduler and the rest of this process, are never held up (Own): they are made by a
// bounded number of workers, which cannot flood anything; a worker that waited in a queue would hold up leases and the repair that
// ends an overload; and what they do is cheap, with no decoding and no encoding. Their seats count as those of the exempt level, so that
// what they use is taken from what tenants share, not added to it.
//
// level.go is the dispatcher, without I/O, with time as an argument; share.go divides seats among levels; classify.go and shuffle.go find a
// request's place; sharer.go puts them behind locks and timers; follow.go keeps the objects. It imports client, object and the kinds of
// flow control. Read sharer.go, then level.go.
package flow
