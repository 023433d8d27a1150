package process

import (
	"context"
	"fmt"
	"net/netip"

	"proa.dev/network/cni"
	"proa.dev/runtime/sandbox"
)

// sandboxNetwork lets the runtime use the network plugin; neither knows the other.
type sandboxNetwork struct {
	plugin *cni.Plugin
	tidied chan struct{} // closed when what dead sandboxes left is removed: only then may new ones come
}

func (n sandboxNetwork) Attach(ctx context.Context, p sandbox.NetworkPod) ([]netip.Addr, error) {
	select {
	case <-n.tidied:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	pod, err := cniPod(p)
	if err != nil {
		return nil, err
	}
	return n.plugin.Attach(ctx, pod)
}

func (n sandboxNetwork) Detach(ctx context.Context, p sandbox.NetworkPod) error {
	pod, err := cniPod(p)
	if err != nil {
		return err
	}
	return n.plugin.Detach(ctx, pod)
}

func cniPod(p sandbox.NetworkPod) (cni.Pod, error) {
	pod := cni.Pod{ID: p.ID, Namespace: p.Namespace, Name: p.Name, UID: p.UID, NetNS: p.NetNS, Annotations: p.Annotations}
	for _, port := range p.Ports {
		if port.HostPort == 0 {
			continue
		}
		out := cni.Port{HostPort: uint16(port.HostPort), ContainerPort: uint16(port.ContainerPort), Protocol: port.Protocol.String()}
		if port.HostIp != "" {
			ip, err := netip.ParseAddr(port.HostIp)
			if err != nil {
				return pod, fmt.Errorf("host port %d: %w", port.HostPort, err)
			}
			out.HostIP = ip
		}
		pod.Ports = append(pod.Ports, out)
	}
	return pod, nil
}
