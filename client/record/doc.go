// Package record writes Kubernetes Events (core/v1) in the background: callers never wait and never fail. Repeats of an event
// raise its count, many similar ones are folded into one, and an object that causes a flood is cut off for a while, as
// Kubernetes' own components do it, so that kubectl describe shows what its readers expect.
//
// An event is best effort: it is dropped when the API refuses it, when the queue is full, or when the process ends before it was
// written. It imports client and object only. Read recorder.go, then fold.go.
package record
