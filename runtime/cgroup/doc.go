// Package cgroup makes control groups for pods and containers on all three kinds of host: v2, v1, and hybrid (v1 controllers
// beside a v2 tree without any). It sets limits, reads figures, kills and removes. A group is named by one path that is the
// same in every hierarchy; on v1 it exists in the hierarchies that matter (memory, cpu, cpuacct, pids, devices, and cpuset,
// hugetlb where limits ask for them), and on hybrid hosts also in the v2 tree, whose cgroup.kill ends all processes at once
// and into which a child can be cloned.
//
// It imports x/sys/unix. Read tree.go, then limits.go.
package cgroup
