// Package usage answers for metrics.k8s.io: what nodes and pods use now. It asks the kubelets when somebody asks it, and not otherwise:
//
//	GET /apis/metrics.k8s.io/v1beta1/pods  ->  every node's /stats/summary?only_cpu_and_memory=true, at most once in ten seconds
//
// A rate of CPU is the difference of two readings. Where there is no earlier one, because nobody has asked for two minutes, a second
// is taken after a second. A node that does not answer in time is left out, as are pods without figures.
//
// It imports client and object. Read usage.go.
package usage
