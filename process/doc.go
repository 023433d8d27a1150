// Package process puts the parts together: server.go and agent.go are the two written-out lists of components, and this is the only
// package that imports them all. Around the lists stand what belongs to one process on one machine: the lock that keeps a
// second daemon out (lock.go), the steps of the start that `proa up` shows (steps.go), the private socket that the commands talk
// to (admin.go), giving back what only the start needed (settle.go), stopping and removing (remove.go), a runtime of somebody else
// (foreign.go).
package process
