package pull

import (
	"context"
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"

	"proa.dev/kit/dockerauth"
	"proa.dev/kubelet/pulled"
)

// find is what the pod has for an image's registry: of its pull secrets, the closest match first, then of plugins.
func (p *Puller) find(ctx context.Context, image string, pod *core.Pod) []pulled.Credential {
	type found struct {
		dockerauth.Match
		secret *core.Secret
	}
	var all []found
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, err := p.Secrets.Secret(pod.Namespace, ref.Name)
		if err != nil {
			p.Events.Event(pod, core.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", ref.Name)
			continue
		}
		entries, err := read(s)
		if err != nil {
			p.Log.Warn("pull secret not readable", "ns", s.Namespace, "name", s.Name, "err", err)
			continue
		}
		for _, m := range dockerauth.All(entries, image) {
			all = append(all, found{m, s})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return dockerauth.Closer(a.Match, b.Match) })
	var out []pulled.Credential
	for _, f := range all {
		out = append(out, pulled.Credential{Entry: f.Entry, Secret: f.secret})
	}
	if p.Credentials != nil {
		out = append(out, p.Credentials.For(ctx, image, pod)...)
	}
	return out
}

// read reads kubernetes.io/dockerconfigjson and the older kubernetes.io/dockercfg.
func read(s *core.Secret) (map[string]dockerauth.Entry, error) {
	switch s.Type {
	case core.SecretTypeDockerConfigJson:
		return dockerauth.Parse(s.Data[core.DockerConfigJsonKey])
	case core.SecretTypeDockercfg:
		return dockerauth.ParseOld(s.Data[core.DockerConfigKey])
	}
	return nil, nil
}

// withTag adds the default tag to a name that has neither tag nor digest. What is wrong with a name is said in Kubernetes' words.
func withTag(image string) (string, error) {
	if err := checkName(image); err != nil {
		return "", fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	last := image[strings.LastIndex(image, "/")+1:]
	if strings.ContainsAny(last, ":@") {
		return image, nil
	}
	return image + ":latest", nil
}

// checkName completes a name with the registry that it means, and checks that.
func checkName(image string) error {
	if len(image) == 64 && strings.Trim(image, "0123456789abcdef") == "" {
		return fmt.Errorf("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", image)
	}
	registry, rest, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(registry, ".:") && registry != "localhost" && strings.ToLower(registry) == registry {
		registry, rest = "docker.io", image
	}
	if registry == "index.docker.io" {
		registry = "docker.io"
	}
	if registry == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	if path, _, _ := strings.Cut(rest, ":"); strings.ToLower(path) != path {
		return fmt.Errorf("invalid reference format: repository name (%s) must be lowercase", path)
	}
	_, _, _, err := pulled.Split(registry + "/" + rest)
	return err
}
