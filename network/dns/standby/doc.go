// Package standby keeps the names of the cluster resolving while the daemon is dead: pods go on running then, and would find nobody
// without DNS. It is a mode of the keeper binary, a process of 2 MB that sleeps on a file lock which the daemon holds; when the
// kernel lets go of the lock, it reads the table of names that the daemon wrote last, takes over the address of DNS and answers, until the
// next daemon ends it.
//
// It answers A and AAAA over UDP, with what was true when the daemon died, and passes other domains on to the upstream resolvers. SRV, PTR
// and TCP wait for the daemon. A table:
//
//	domain cluster.local.
//	listen 10.43.0.10:53
//	upstream 192.0.2.53:53
//	name store.shop.svc.cluster.local. 10.43.55.115
//	alias mail.shop.svc.cluster.local. mail.example.org.
//
// It imports neither net nor fmt nor anything of Kubernetes, so that the process, and the keepers of pods, stay small. Read run.go; the
// daemon's side is hold.go of package dns.
package standby
