// Package seccomp holds the default system call profile of containers and turns any OCI seccomp profile into the BPF
// program that the kernel takes, for the machine's architecture and its 32-bit sibling. It imports the OCI runtime
// specification's types and x/sys/unix. Read compile.go.
//
// The program looks a call number up by binary search over ranges of equal verdict (a dozen steps where a list has
// hundreds), which also keeps what the kernel does at installation, one simulated run per call number, short. Numbers above
// all that a profile names are answered with ENOSYS rather than the profile's error, so that C libraries fall back from
// calls that are newer than the profile (as runc does).
//
//go:generate go run generate.go
package seccomp
