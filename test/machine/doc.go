// Package machine makes machines to run proa on, within this one: a network namespace without a way out, directories and a cgroup
// parent of its own. The end-to-end tests and the benchmark share it. It imports netlink only. Read machine.go.
package machine
