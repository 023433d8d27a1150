// Package apparmor knows what of AppArmor the kernel has, and gives it the default profile of containers, proa-default.
//
// The kernel takes profiles compiled. policy/proa-default.bin is compiled from the text beside it, against an ABI that every
// kernel with AppArmor understands (3.0), so that a node needs no apparmor_parser. It is loaded when the first container wants it.
//
// It imports nothing of ours. Read apparmor.go.
package apparmor
