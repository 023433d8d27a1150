// Package cpu gives CPUs to single containers (Kubernetes' CPU manager, KEPs 375, 2625, 2902, 3545, 4176, 4540, 4800): with the static policy, a
// container of a guaranteed pod that asks for whole CPUs has them for itself, as near to each other as there are; all other containers share
// what is left, which shrinks and grows while they run.
//
//	take.go    which CPUs, of those that are free: a pure function of the machine
//	manager.go who has which, over restarts, and hints about where they could come from
//
// It imports kubelet/spec, kubelet/topology and kit. Read manager.go.
package cpu
