// Command proa-keeper is the process that each pod has: it keeps the pod's namespaces, its containers, their output and
// their exit codes. proa carries it inside and starts it; nobody else does. It links the standard library's small packages
// and x/sys only, so that starting it takes about a millisecond and keeping it two megabytes. It is also the first stage
// of every container (stage, exec) and the first process of a shared PID namespace (pause). Read main.go, then package
// runtime/keeper/supervise.
package main
