// Package pod brings pods to life and to their end: one Worker per pod. What is to be done next is decided by next, a pure function of
// what the API wants, what the runtime shows, what is under way, and the time; the worker does it, each step in a goroutine of its own,
// and asks again when anything changed. It sleeps while nothing does.
//
//	wake: the pod or an object it uses changed, a container event, a probe's result, the end of a step, a moment that next named
//	  -> next(State) = Plan{Volumes, Sandbox, Start, Kill, Cleanup, ...}
//	  -> steps start; the status goes to status.Writer
//
// Nothing of a worker's State has to survive the process: the runtime's labels and annotations, the files under the pod's directory
// and the status in the API say everything (see observe). The back-off of crashing containers starts over.
//
// Instead of a pause between a pod's steps volumes and sandbox are made at the same time, and all containers that may start do so at
// once. It imports object, client and the kubelet packages beside it. Read next.go, then worker.go.
package pod
