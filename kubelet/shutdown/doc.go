// Package shutdown ends the pods of a node in good order before the machine goes down, as KEP-2000 (graceful node shutdown) and KEP-2712
// (by pod priority) have it. It holds a delay lock of systemd's logind (org.freedesktop.login1.Manager.Inhibit, freedesktop.org's
// inhibitor locks), and when logind says PrepareForShutdown
//
//	the node is not ready, new pods are refused
//	the pods end by their priority, the lowest first: each group has its seconds, and the next one begins when they are over, or when
//	all of the group have ended and have no volumes any more
//	the lock is let go, and the machine goes down
//
// With shutdownGracePeriod 30s and shutdownGracePeriodCriticalPods 10s the groups are 0 for 20 s and 2000000000 for 10 s. If the shutdown
// is called off, the node is ready again; its pods have ended. Without periods nothing of this runs.
//
// It imports kit/atomicfile, kubelet/{pod,status}. Read plan.go, then shutdown.go and logind.go.
package shutdown
