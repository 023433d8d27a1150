package spec

import (
	"net/netip"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/observe"
)

// Instance is one container about to be made.
type Instance struct {
	Pod       *core.Pod
	Container *core.Container
	Restarts  int
	PodIPs    []netip.Addr
	Image     Image
	Env       []Var
	Mounts    []*runtimeapi.Mount
	Devices   []*runtimeapi.Device
	// TargetID is the container whose processes this one shall see (an ephemeral container's target); "" is none.
	TargetID string
}

// Container is the configuration of one container.
func Container(n *Node, in Instance) (*runtimeapi.ContainerConfig, error) {
	pod, c := in.Pod, in.Container
	sc, err := Security(n, pod, c, in.Image)
	if err != nil {
		return nil, err
	}
	if in.TargetID != "" && sc.NamespaceOptions.Pid == runtimeapi.NamespaceMode_CONTAINER {
		sc.NamespaceOptions.Pid = runtimeapi.NamespaceMode_TARGET
		sc.NamespaceOptions.TargetId = in.TargetID
	}
	annotations, err := observe.ContainerAnnotations(pod, c, in.Restarts)
	if err != nil {
		return nil, err
	}
	lookup := Lookup(in.Env)
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(in.Restarts)},
		Image:       &runtimeapi.ImageSpec{Image: in.Image.Ref, UserSpecifiedImage: c.Image},
		Command:     expandAll(c.Command, lookup),
		Args:        expandAll(c.Args, lookup),
		WorkingDir:  c.WorkingDir,
		Labels:      observe.ContainerLabels(pod, c.Name),
		Annotations: annotations,
		Mounts:      in.Mounts,
		Devices:     in.Devices,
		LogPath:     LogPath(c.Name, in.Restarts),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux:       &runtimeapi.LinuxContainerConfig{Resources: Resources(n, pod, c), SecurityContext: sc},
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		config.StopSignal = runtimeapi.Signal(runtimeapi.Signal_value[string(*c.Lifecycle.StopSignal)])
	}
	config.Envs = make([]*runtimeapi.KeyValue, len(in.Env))
	for i, v := range in.Env {
		config.Envs[i] = &runtimeapi.KeyValue{Key: v.Name, Value: []byte(v.Value)}
	}
	return config, nil
}

func expandAll(words []string, lookup func(string) (string, bool)) []string {
	if len(words) == 0 {
		return nil
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = Expand(w, lookup)
	}
	return out
}
