// Package topology knows how the machine is built (sockets, caches, cores, threads, NUMA nodes and their memory, read from sysfs) and where
// things that belong together should come from: every part that hands something out says by hints which sets of NUMA nodes it could take it
// from, and a Policy merges them into one (Kubernetes' topology manager, KEP-693).
//
//	CPUs say {0}* {1}* {0,1}, a device says {1}*   (* is preferred)   -> {1}*
//
// Everything but Read is a pure function; Counts are what came of them. It imports kit. Read mask.go, then merge.go.
package topology
