// Package critest is a container runtime in memory for tests of the kubelet. Its containers are Go functions; everything else keeps CRI's
// rules, and breaking one is an error as of a real runtime: containers live in ready sandboxes, names with their attempt are unique, only
// a created container starts, stopping and removing may be repeated, events come for every change. Read critest.go.
package critest
