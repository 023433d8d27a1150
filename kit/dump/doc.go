// Package dump reads lists from the kernel by netlink, whole. It imports netlink. Read dump.go.
package dump
