// Package probe asks containers how they are: startup, liveness and readiness, by exec, HTTP, TCP or gRPC. Each probe has one timer and
// no goroutine of its own while it waits. A result that changes wakes the pod's worker; the worker and the status read State.
//
// Before its first success a readiness or startup probe over the network is tried more often than its period, with growing gaps: a
// server that is up in 30 ms is ready in 30 ms. These extra tries count for nothing when they fail.
//
// It imports kubelet/cri and kubelet/spec. Read prober.go, then check.go.
package probe
