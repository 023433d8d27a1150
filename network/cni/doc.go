// Package cni gives pods their network. A Plugin has two forms behind one set of methods: the built-in one, in process, and
// any CNI configuration of a directory such as /etc/cni/net.d, run through libcni.
//
// In the built-in plugin a pod has an interface eth0, one end of a veth, and one address per range of the node, as /32 (or
// /128). The other end is a routed link of the node, not the port of a bridge: every packet of a pod, to another pod of the
// same node too, passes the node's routing and so all its rules; no pod can speak for another one on a shared link; and
// connections through a Service come back the way they went whatever bridge-nf-call-iptables says (with ports of a bridge they
// do not: where it is on, the kernel bridges rewritten packets past the routing, where it is off, replies go past the
// rewriting). Neighbour entries are permanent on both ends, so nothing waits for ARP or duplicate address detection. The
// gateway addresses stand on one bridge without ports per node, which takes the place of a dummy link, since not every kernel
// has those; the service ranges are routed to it (see network/service).
//
// Addresses are leases on disk: one symbolic link per address that points at its owner, because making one is atomic and
// complete in a single system call:
//
//	<StateDir>/leases/10.42.0.5 -> 3f9c0b... (the sandbox id)
//
// The host side of a pod's veth is named after the sandbox id (LinkName), so nothing else has to be remembered.
//
// nftables, table "proa-pods" of each family: masquerade of what leaves the cluster ranges, host ports (one map), no packets
// from a wire to 127.0.0.0/8 (route_localnet is on for pod links, so that host ports answer on 127.0.0.1).
//
// It imports netlink, libcni and network/{nft,conntrack,route}. Read cni.go, then routed.go and node.go.
package cni
