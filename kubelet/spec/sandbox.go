package spec

import (
	"maps"

	core "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/observe"
)

// Sandbox is the configuration of a pod's sandbox. attempt counts the sandboxes that the pod had before.
func Sandbox(n *Node, pod *core.Pod, attempt uint32) (*runtimeapi.PodSandboxConfig, error) {
	dns, err := DNS(n, pod)
	if err != nil {
		return nil, err
	}
	c := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{
			Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt,
		},
		Labels:       observe.SandboxLabels(pod),
		Annotations:  maps.Clone(pod.Annotations), // the pod is shared memory, and a runtime may add its own
		LogDirectory: n.LogDir(pod),
		DnsConfig:    dns,
		PortMappings: ports(pod),
	}
	if !pod.Spec.HostNetwork {
		if c.Hostname, err = kernelHostname(pod, n.ClusterDomain); err != nil {
			return nil, err
		}
	}
	c.Linux, err = sandboxLinux(n, pod)
	return c, err
}

func sandboxLinux(n *Node, pod *core.Pod) (*runtimeapi.LinuxPodSandboxConfig, error) {
	groups, policy, err := groups(pod)
	if err != nil {
		return nil, err
	}
	ns, err := namespaces(n, pod)
	if err != nil {
		return nil, err
	}
	sc := &runtimeapi.LinuxSandboxSecurityContext{
		Privileged:               privileged(pod),
		NamespaceOptions:         ns,
		Seccomp:                  &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
		SupplementalGroups:       groups,
		SupplementalGroupsPolicy: policy,
	}
	l := &runtimeapi.LinuxPodSandboxConfig{
		CgroupParent: n.Cgroup(pod), SecurityContext: sc, Sysctls: map[string]string{},
		Overhead: overhead(pod), Resources: PodResources(n, pod),
	}
	if p := pod.Spec.SecurityContext; p != nil {
		for _, s := range p.Sysctls {
			l.Sysctls[sysctl.NormalizeName(s.Name)] = s.Value
		}
		sc.RunAsUser, sc.RunAsGroup, sc.SelinuxOptions = number(p.RunAsUser), number(p.RunAsGroup), selinux(p.SELinuxOptions)
	}
	return l, nil
}

func privileged(pod *core.Pod) bool {
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if sc := list[i].SecurityContext; sc != nil && yes(sc.Privileged) {
				return true
			}
		}
	}
	return false
}

func ports(pod *core.Pod) []*runtimeapi.PortMapping {
	if pod.Spec.HostNetwork {
		return nil
	}
	var out []*runtimeapi.PortMapping
	add := func(c *core.Container) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			out = append(out, &runtimeapi.PortMapping{
				Protocol: protocol(p.Protocol), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP,
			})
		}
	}
	for i := range pod.Spec.InitContainers {
		if Sidecar(&pod.Spec.InitContainers[i]) {
			add(&pod.Spec.InitContainers[i])
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}

func protocol(p core.Protocol) runtimeapi.Protocol {
	switch p {
	case core.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case core.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	}
	return runtimeapi.Protocol_TCP
}
