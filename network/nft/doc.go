// Package nft describes nftables rule sets as values and brings the kernel to them, one transaction per change, over netlink.
//
// A Ruleset is what one table shall hold: sets, chains with rules, elements. Load reads what a table holds now, Diff says
// what to change, and Conn.Do does it. A table belongs to exactly one component, so nobody merges rules. The rules themselves
// never change in place: a table whose sets and chains differ from the wanted ones is replaced as a whole, in one
// transaction, and everything that comes and goes is an element of a map. That is what keeps a change at tens of
// microseconds however many services there are.
//
// A rule is put together from parts that carry both their netlink form and the text that golden files show:
//
//	nft.NewRule(f.Fields(8, nft.DAddr, nft.Proto, nft.DPort), nft.Vmap(8, "services"))
//	// text: load daddr . proto . dport -> r8; vmap r8 @services
//
// Worked example of an element of that map, IPv4: key 0a2b0001 06000000 01bb0000 (10.43.0.1, TCP, 443; every field padded to
// four bytes, network byte order), verdict goto "pick.2".
//
// It imports google/nftables and the standard library. Read ruleset.go, then conn.go.
package nft
