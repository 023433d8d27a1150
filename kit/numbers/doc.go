// Package numbers reads the kernel's files that have a name and a number on each line, such as /proc/meminfo and memory.stat. It imports
// the standard library only. Read numbers.go.
package numbers
