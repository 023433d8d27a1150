// Package evict ends pods when the node runs short of memory, disk, inodes or process ids, and pods that use more local storage than
// they may. It follows "Node-pressure Eviction" of Kubernetes' documentation: thresholds per signal, hard ones at once and soft ones
// after a grace period, unused images before pods, pods that use more than they asked for before others, one pod at a time.
//
//	every 10 s, and as soon as the kernel sees tasks stall for memory (PSI):
//	  observe -> watch.look(thresholds, reading, now) = conditions of the node, thresholds to act on
//	  -> over its own limit: evict; else reclaim images; else evict the first of rank(pods)
//
// look and rank are pure. It imports kubelet/pod for the eviction itself and kubelet/stats for what pods use. Read watch.go first.
package evict
