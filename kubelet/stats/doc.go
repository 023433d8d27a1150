// Package stats says what a node, its pods and their containers use now, to whoever asks. Nothing is measured while nobody does.
//
//	/stats/summary          the Summary API, k8s.io/kubelet/pkg/apis/stats/v1alpha1     summary.go
//	/metrics/resource       what metrics servers read of it, as Prometheus' text       pages.go
//	/metrics/cadvisor       figures of control groups under cAdvisor's names           groups.go
//
// The figures of pods and containers are the runtime's (CRI), those of the node are the kernel's (/proc, statfs), and how much lies in a
// directory is found by walking it, at most once a minute. A rate of CPU needs two readings, so it is missing from the first answer.
//
// It imports kubelet/{cadvisor,cri,observe,spec}. Read summary.go first.
package stats
