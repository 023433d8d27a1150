package pod

import (
	"context"
	"strings"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/pull"
	"proa.dev/kubelet/spec"
)

// ensureImage makes an image present, as its pull policy says: the container's own, or one that it mounts.
func (j *job) ensureImage(ctx context.Context, name string, policy core.PullPolicy) (spec.Image, error) {
	return j.puller.Ensure(ctx, &pull.Want{
		Pod: j.pod, Field: j.field, Image: name, Policy: policy,
		Box: func() (*runtimeapi.PodSandboxConfig, error) { return spec.Sandbox(j.Node, j.pod, j.sandbox.Attempt) },
	})
}

// volumeImages makes the images present that the container mounts, by their reference.
func (j *job) volumeImages(ctx context.Context) (map[string]spec.Image, error) {
	var out map[string]spec.Image
	for _, m := range j.c.VolumeMounts {
		for i := range j.pod.Spec.Volumes {
			v := &j.pod.Spec.Volumes[i]
			if v.Name != m.Name || v.Image == nil {
				continue
			}
			image, err := j.ensureImage(ctx, v.Image.Reference, v.Image.PullPolicy)
			if err != nil {
				return nil, err
			}
			if out == nil {
				out = map[string]spec.Image{}
			}
			out[v.Image.Reference] = image
		}
	}
	return out, nil
}

// countMounts counts the images that the container mounts; err is of the attempt to create it.
func (j *job) countMounts(err error) {
	if len(j.images) == 0 {
		return
	}
	volumes, mounts := 0, 0
	for i := range j.pod.Spec.Volumes {
		v := &j.pod.Spec.Volumes[i]
		of := 0
		for _, m := range j.c.VolumeMounts {
			if v.Image != nil && m.Name == v.Name {
				of++
			}
		}
		mounts += of
		volumes += min(of, 1)
	}
	j.counts.mounts(volumes, mounts, err != nil && strings.HasPrefix(cri.Message(err), mountFailed))
}
