// Package conntrack makes the kernel forget tracked connections that lead where they should not any more. It matters for
// protocols without an end of their own (UDP): as long as a client keeps sending, its packets go where the first one went.
//
// It imports netlink. Read conntrack.go.
package conntrack
