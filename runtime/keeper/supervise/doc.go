// Package supervise is the long life of a keeper: one small process per pod that holds the pod's namespaces, is the parent
// (and subreaper) of its containers, writes their output as CRI logs, keeps their exit codes in memory and on disk, and
// serves exec, attach and signals on a unix socket in the language of keeper/wire. It outlives the daemon that started it.
//
// It costs memory once per pod, so: one P, a small heap, no fmt, no encoding packages, one read buffer for all containers,
// no goroutine that only waits for a process. Goroutines: one accepts, one per connection, one per output stream, one
// reaps, one forks (on its own thread, because a thread's PID namespace for children is switched around a fork).
//
// Its directory holds `sock` and `stderr` (made by the daemon), `pid`, and `exit/<container>` with the wire.State of every
// container that ended, written before anybody is told, until the daemon says Forget.
//
// It imports keeper/wire, keeper/stage (for sysctls) and x/sys/unix. Read keeper.go, then container.go and fork.go.
package supervise
