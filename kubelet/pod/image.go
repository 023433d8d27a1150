package pod

import (
	"context"
	"fmt"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/dockerauth"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// ensureImage makes an image present, as its pull policy says: the container's own, or one that it mounts.
func (j *job) ensureImage(ctx context.Context, name string, policy core.PullPolicy) (spec.Image, error) {
	image := &runtimeapi.ImageSpec{Image: withTag(name), UserSpecifiedImage: name}
	have, err := j.imageStatus(ctx, image)
	if err != nil {
		j.event(core.EventTypeWarning, "InspectFailed", "Failed to inspect image %q: %s", name, cri.Message(err))
		return spec.Image{}, failed("ImageInspectError", err)
	}
	switch {
	case have != nil && policy != core.PullAlways:
		j.event(core.EventTypeNormal, "Pulled", "Container image %q already present on machine", name)
		return describe(have), nil
	case policy == core.PullNever:
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", name)
		j.event(core.EventTypeWarning, "ErrImageNeverPull", "%s", message)
		return spec.Image{}, &startError{Reason: status.Reason{Reason: "ErrImageNeverPull", Message: message}}
	}
	return j.pull(ctx, image)
}

func (j *job) pull(ctx context.Context, image *runtimeapi.ImageSpec) (spec.Image, error) {
	j.event(core.EventTypeNormal, "Pulling", "Pulling image %q", image.UserSpecifiedImage)
	asked := time.Now()
	if j.pulls != nil {
		select {
		case j.pulls <- struct{}{}:
			defer func() { <-j.pulls }()
		case <-ctx.Done():
			return spec.Image{}, ctx.Err()
		}
	}
	began := time.Now()
	auths := j.credentials(ctx, image.Image)
	if len(auths) == 0 {
		auths = []*runtimeapi.AuthConfig{nil}
	}
	var pulled *runtimeapi.PullImageResponse
	var err error
	for _, auth := range auths {
		box, boxErr := spec.Sandbox(j.Node, j.pod, j.sandbox.Attempt)
		if boxErr != nil {
			return spec.Image{}, failed("ErrImagePull", boxErr)
		}
		pulled, err = j.Images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: image, Auth: auth, SandboxConfig: box})
		if err == nil {
			break
		}
	}
	if err != nil {
		return spec.Image{}, j.pullFailed(ctx, image, err)
	}
	took, waited := time.Since(began).Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond)
	have, err := j.imageStatus(ctx, image)
	if err != nil || have == nil { // the runtime knows it under the reference that it gave
		have, err = j.imageStatus(ctx, &runtimeapi.ImageSpec{Image: pulled.GetImageRef()})
	}
	if err != nil {
		return spec.Image{}, failed("ImageInspectError", err)
	}
	if have == nil {
		return spec.Image{Ref: pulled.GetImageRef()}, nil
	}
	j.event(core.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
		image.UserSpecifiedImage, took, waited, have.GetSize())
	return describe(have), nil
}

// pullFailed tells why an image did not come. A pull that is not wanted any more is no failure.
func (j *job) pullFailed(ctx context.Context, image *runtimeapi.ImageSpec, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	j.event(core.EventTypeWarning, "Failed", "Failed to pull image %q: %s", image.UserSpecifiedImage, cri.Message(err))
	j.event(core.EventTypeWarning, "Failed", "Error: ErrImagePull")
	return &startError{status.Reason{Reason: "ErrImagePull", Message: cri.Message(err)}, image.UserSpecifiedImage}
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

func (j *job) imageStatus(ctx context.Context, image *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	r, err := j.Images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: image})
	if cri.NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.GetImage(), nil
}

func describe(i *runtimeapi.Image) spec.Image {
	out := spec.Image{Ref: i.GetId(), User: i.GetUsername()}
	if u := i.GetUid(); u != nil {
		out.UID = &u.Value
	}
	return out
}

// withTag adds the default tag to a name that has neither tag nor digest.
func withTag(image string) string {
	last := image[strings.LastIndex(image, "/")+1:]
	if strings.ContainsAny(last, ":@") {
		return image
	}
	return image + ":latest"
}

// credentials are those of the pod's pull secrets that fit the image's registry, the closest match first, then those of plugins.
func (j *job) credentials(ctx context.Context, image string) []*runtimeapi.AuthConfig {
	var out []*runtimeapi.AuthConfig
	add := func(e dockerauth.Entry) {
		out = append(out, &runtimeapi.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken})
	}
	for _, ref := range j.pod.Spec.ImagePullSecrets {
		s, err := j.Sources.Secret(j.pod.Namespace, ref.Name)
		if err != nil {
			j.Events.Event(j.pod, core.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", ref.Name)
			continue
		}
		auths, err := readCredentials(s)
		if err != nil {
			j.Log.Warn("pull secret not readable", "ns", s.Namespace, "name", s.Name, "err", err)
			continue
		}
		if e, ok := dockerauth.Best(auths, image); ok {
			add(e)
		}
	}
	if j.Credentials != nil {
		for _, e := range j.Credentials.For(ctx, image, j.pod) {
			add(e)
		}
	}
	return out
}

// readCredentials reads kubernetes.io/dockerconfigjson and the older kubernetes.io/dockercfg.
func readCredentials(s *core.Secret) (map[string]dockerauth.Entry, error) {
	switch s.Type {
	case core.SecretTypeDockerConfigJson:
		return dockerauth.Parse(s.Data[core.DockerConfigJsonKey])
	case core.SecretTypeDockercfg:
		return dockerauth.ParseOld(s.Data[core.DockerConfigKey])
	}
	return nil, nil
}
