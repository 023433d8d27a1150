// Package route keeps the cluster's address ranges on the machine: an unreachable route for each pod and service range stands
// under the real ones, so that a packet for which no better route exists (yet, or any more) is refused here and never sent to
// somebody else's network. The routes carry protocol number 112, by which Cleanup and Leftovers know them.
//
// It refuses ranges that overlap a route of the host, naming the route and the configuration key. Routes to the
// pods of other nodes stand above the unreachable ones: see network/mesh.
//
// It imports netlink. Read route.go.
package route
