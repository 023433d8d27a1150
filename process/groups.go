package process

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/container"
)

// groups writes cgroups for the kubelet, which knows of CRI only.
type groups struct{ tree *cgroup.Tree }

func openGroups() (groups, error) {
	tree, err := cgroup.Open()
	return groups{tree}, err
}

// Set implements kubelet/qos.Groups.
func (g groups) Set(path string, r *runtimeapi.LinuxContainerResources) error {
	group, err := g.tree.Create(path)
	if err != nil {
		return err
	}
	return group.Apply(container.Limits(r))
}

// RunPodSandbox makes the pod's cgroup, with the limits of the pod as a whole, before another runtime puts containers into it.
func (r foreignRuntime) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	linux, uid := req.GetConfig().GetLinux(), req.GetConfig().GetMetadata().GetUid()
	r.making.begin(uid)
	if err := r.groups.Set(linux.GetCgroupParent(), linux.GetResources()); err != nil {
		r.making.end(uid)
		return nil, fmt.Errorf("make the pod's cgroup: %w", err)
	}
	resp, err := r.Conn.RunPodSandbox(ctx, req)
	r.making.end(uid)
	if err != nil {
		if left := r.dropPod(context.WithoutCancel(ctx), uid); left != nil {
			err = errors.Join(err, left)
		}
	}
	return resp, err
}

// UpdatePodSandboxResources changes the limits of the pod as a whole.
func (r foreignRuntime) UpdatePodSandboxResources(ctx context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	s, err := r.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: req.PodSandboxId})
	if err != nil {
		return nil, err
	}
	uid := s.GetStatus().GetMetadata().GetUid()
	for _, class := range []string{"", "burstable", "besteffort"} {
		path := filepath.Join(r.config.CgroupParent, "kubepods", class, "pod"+uid)
		if uid != "" && r.groups.tree.At(path).Exists() {
			return &runtimeapi.UpdatePodSandboxResourcesResponse{}, r.groups.Set(path, req.GetResources())
		}
	}
	return nil, fmt.Errorf("sandbox %s has no cgroup", req.PodSandboxId)
}
