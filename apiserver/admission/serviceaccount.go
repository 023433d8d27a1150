package admission

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// The volume by which a pod gets its token, as everybody's tools know it.
const (
	tokenVolume  = "kube-api-access-"
	tokenPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenSeconds = 3607 // an hour, and a bit by which such tokens are recognised
	rootCA       = "kube-root-ca.crt"
)

// accountWait is how long a pod waits for the default account of a namespace that was made just now.
const accountWait = time.Second

// serviceAccount gives a new pod its account, the account's pull secrets, and the volume with its token.
func (s *Start) serviceAccount(ctx context.Context, r *Request) error {
	if r.Op != Create || !r.Is("", "pods") {
		return nil
	}
	pod := r.Object.(*core.Pod)
	if _, mirror := pod.Annotations[core.MirrorPodAnnotationKey]; mirror {
		return checkMirror(r, pod)
	}
	spec := &pod.Spec
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = "default"
	}
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	account, ok := s.account(ctx, object.Key{Namespace: r.Key.Namespace, Name: spec.ServiceAccountName})
	if !ok {
		return r.Forbid("error looking up service account %s/%s: serviceaccount %q not found", r.Key.Namespace, spec.ServiceAccountName, spec.ServiceAccountName)
	}
	if automounts(account, spec) {
		mountToken(spec)
	}
	if len(spec.ImagePullSecrets) == 0 {
		spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	if account.Annotations["kubernetes.io/enforce-mountable-secrets"] == "true" {
		return limitSecrets(r, account, spec)
	}
	return nil
}

// checkMirror refuses what the copy of a static pod may not have.
func checkMirror(r *Request, pod *core.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return r.Forbid("a mirror pod may not reference service accounts")
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil {
			return r.Forbid("a mirror pod may not reference secrets")
		}
		if v.Projected == nil {
			continue
		}
		for _, src := range v.Projected.Sources {
			if src.ServiceAccountToken != nil {
				return r.Forbid("a mirror pod may not use ServiceAccountToken volume projections")
			}
		}
	}
	return nil
}

// account finds a service account. The default account of a new namespace is made by a controller at once: it is worth a short
// wait.
func (s *Start) account(ctx context.Context, key object.Key) (*core.ServiceAccount, bool) {
	if a, ok := client.Lookup[core.ServiceAccount](s.view, key); ok || key.Name != "default" {
		return a, ok
	}
	ctx, cancel := context.WithTimeout(ctx, accountWait)
	defer cancel()
	var found *core.ServiceAccount
	// The error is that of ctx, which says nothing beyond found.
	_ = client.Watch(ctx, s.view, func(t client.EventType, now, _ *core.ServiceAccount) {
		if (t == client.Added || t == client.Modified) && object.KeyOf(now) == key {
			found = now
			cancel()
		}
	})
	return found, found != nil
}

func automounts(a *core.ServiceAccount, spec *core.PodSpec) bool {
	switch {
	case spec.AutomountServiceAccountToken != nil:
		return *spec.AutomountServiceAccountToken
	case a.AutomountServiceAccountToken != nil:
		return *a.AutomountServiceAccountToken
	}
	return true
}

// mountToken adds the token's volume, and its mount to every container that has nothing at its path.
func mountToken(spec *core.PodSpec) {
	at := slices.IndexFunc(spec.Volumes, func(v core.Volume) bool { return strings.HasPrefix(v.Name, tokenVolume) })
	name := tokenVolume + suffix()
	if at >= 0 {
		name = spec.Volumes[at].Name
	}
	needed := false
	for _, list := range [][]core.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			c := &list[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == tokenPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenPath})
			needed = true
		}
	}
	if at < 0 && needed {
		spec.Volumes = append(spec.Volumes, core.Volume{Name: name, VolumeSource: core.VolumeSource{Projected: tokenSource()}})
	}
}

// tokenSource is the token, the cluster's CA and the namespace.
func tokenSource() *core.ProjectedVolumeSource {
	mode, seconds := core.ProjectedVolumeSourceDefaultMode, int64(tokenSeconds)
	return &core.ProjectedVolumeSource{DefaultMode: &mode, Sources: []core.VolumeProjection{
		{ServiceAccountToken: &core.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{ConfigMap: &core.ConfigMapProjection{LocalObjectReference: core.LocalObjectReference{Name: rootCA},
			Items: []core.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &core.DownwardAPIProjection{Items: []core.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &core.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}
}

// limitSecrets refuses secrets that the account does not list.
func limitSecrets(r *Request, a *core.ServiceAccount, spec *core.PodSpec) error {
	listed := map[string]bool{}
	for _, ref := range a.Secrets {
		listed[ref.Name] = true
	}
	for _, v := range spec.Volumes {
		if v.Secret != nil && !listed[v.Secret.SecretName] {
			return r.Forbid("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret", v.Secret.SecretName, a.Name)
		}
	}
	for _, list := range [][]core.Container{spec.InitContainers, spec.Containers} {
		for _, c := range list {
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && !listed[e.ValueFrom.SecretKeyRef.Name] {
					return r.Forbid("container %s with envVar %s referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
						c.Name, e.Name, e.ValueFrom.SecretKeyRef.Name, a.Name)
				}
			}
			for _, e := range c.EnvFrom {
				if e.SecretRef != nil && !listed[e.SecretRef.Name] {
					return r.Forbid("container %s with envFrom referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
						c.Name, e.SecretRef.Name, a.Name)
				}
			}
		}
	}
	return nil
}

// suffix is five random letters of the kind that generated names end with.
func suffix() string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	b := make([]byte, 5)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}
