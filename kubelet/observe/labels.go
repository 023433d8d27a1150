package observe

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"

	core "k8s.io/api/core/v1"
)

// Labels of sandboxes and containers.
const (
	PodName       = "io.kubernetes.pod.name"
	PodNamespace  = "io.kubernetes.pod.namespace"
	PodUID        = "io.kubernetes.pod.uid"
	ContainerName = "io.kubernetes.container.name"
	// Node marks the sandboxes that the kubelet of a node made. A runtime may be shared: what others made is not ours to remove.
	Node = "proa.dev/node"
)

// Annotations of containers.
const (
	hashKey              = "io.kubernetes.container.hash"
	restartCountKey      = "io.kubernetes.container.restartCount"
	messagePathKey       = "io.kubernetes.container.terminationMessagePath"
	messagePolicyKey     = "io.kubernetes.container.terminationMessagePolicy"
	deletionGraceKey     = "io.kubernetes.pod.deletionGracePeriod"
	terminationGraceKey  = "io.kubernetes.pod.terminationGracePeriod"
	preStopHandlerKey    = "io.kubernetes.container.preStopHandler"
	containerPortsKey    = "io.kubernetes.container.ports"
	defaultGracePeriod   = 30
	defaultMessagePolicy = core.TerminationMessageReadFile
)

// SandboxLabels are the pod's own labels, the three that name it, and the mark of its node.
func SandboxLabels(pod *core.Pod) map[string]string {
	labels := make(map[string]string, len(pod.Labels)+4)
	for k, v := range pod.Labels {
		labels[k] = v
	}
	labels[PodName], labels[PodNamespace], labels[PodUID], labels[Node] = pod.Name, pod.Namespace, string(pod.UID), pod.Spec.NodeName
	return labels
}

// ContainerLabels name a container and its pod.
func ContainerLabels(pod *core.Pod, container string) map[string]string {
	return map[string]string{
		PodName: pod.Name, PodNamespace: pod.Namespace, PodUID: string(pod.UID), ContainerName: container,
	}
}

// ContainerAnnotations carry what the kubelet needs to know of a container when its pod's spec has changed or is gone.
func ContainerAnnotations(pod *core.Pod, c *core.Container, restarts int) (map[string]string, error) {
	a := map[string]string{
		hashKey:          Hash(c),
		restartCountKey:  strconv.Itoa(restarts),
		messagePathKey:   c.TerminationMessagePath,
		messagePolicyKey: string(c.TerminationMessagePolicy),
	}
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		a[deletionGraceKey] = strconv.FormatInt(*s, 10)
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		a[terminationGraceKey] = strconv.FormatInt(*s, 10)
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		b, err := json.Marshal(c.Lifecycle.PreStop)
		if err != nil {
			return nil, fmt.Errorf("note the preStop hook of %s: %w", c.Name, err)
		}
		a[preStopHandlerKey] = string(b)
	}
	if len(c.Ports) > 0 {
		b, err := json.Marshal(c.Ports)
		if err != nil {
			return nil, fmt.Errorf("note the ports of %s: %w", c.Name, err)
		}
		a[containerPortsKey] = string(b)
	}
	return a, nil
}

// Hash tells whether the part of a container's spec changed that only a new container can follow: its image.
func Hash(c *core.Container) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%q %q", c.Name, c.Image)
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}
