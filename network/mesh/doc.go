// Package mesh leads packets between the pods of different nodes that share a link: for every other node a route to its pod ranges by
// its InternalIP. The routes stand above the unreachable ones of network/route and carry its protocol number, by which route.Cleanup
// finds them. A node behind a router gets no route, and the log says so: its pods stay unreachable rather than travel by a router that
// knows nothing of them.
//
// It imports client, netlink and network/route. Read mesh.go.
package mesh
