// Package sim plays machines that are not there: hollow nodes with leases and heartbeats, whose pods run as soon as they are bound
// and end as soon as they are deleted. Everything else (scheduler, controllers, API) is the real thing, so it is for questions of scale
// and of what-if.
//
// Imports object, client and kit/queue. Read sim.go.
package sim
