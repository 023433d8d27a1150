// Package network is the folder of a node's network: cni (pods get an interface and addresses), route (cluster ranges never
// leave the machine), nft (rule sets as values, changed in transactions over netlink), conntrack (connections that are to be
// forgotten), service (Services become verdict maps) and dns (names of the cluster). Each part reads a client.View where it
// needs the API, decides in a pure plan and writes kernel state through netlink alone: no external binary.
//
// It may import client, object and kit. Its parts know each other downwards only: service and cni stand on nft, conntrack and
// route. What a part leaves in the kernel it can list and remove again (Leftovers, Cleanup).
//
// Read network.go, then nft/ruleset.go, then service/plan.go.
package network
