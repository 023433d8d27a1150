package volume

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/kubelet/podcert"
	"proa.dev/kubelet/spec"
)

// file is one file of a volume that follows objects.
type file struct {
	data []byte
	mode int32
	uid  *int64 // owner; nil: root
}

// payload is the files of a volume by path.
type payload map[string]file

const defaultMode int32 = 0o644

// files writes a volume whose content follows API objects, and says when to come back for its tokens.
func (v *Volumes) files(ctx context.Context, pod *core.Pod, vol *core.Volume, now time.Time) (time.Time, error) {
	dir, _, err := v.Path(pod, vol)
	if err != nil {
		return time.Time{}, err
	}
	if vol.Secret != nil || vol.Projected != nil {
		if err := v.memory(); err != nil {
			return time.Time{}, err
		}
	}
	p := payload{}
	renew, err := v.collect(ctx, pod, vol, dir, now, p)
	if err != nil {
		return time.Time{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return time.Time{}, err
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return time.Time{}, err
	}
	if readsObjects(vol) && !v.Sources.FollowsFiles() {
		renew = earlier(renew, now.Add(rereadFiles))
	}
	return renew, writeAtomic(dir, p, now, func(fresh string) error { return v.own(pluginOf(&vol.VolumeSource, nil), fresh, pod, true) })
}

// rereadFiles is how often ConfigMaps and Secrets are read that nobody tells of.
const rereadFiles = 30 * time.Second

// readsObjects says whether a volume shows ConfigMaps or Secrets.
func readsObjects(vol *core.Volume) bool {
	if vol.Projected != nil {
		return slices.ContainsFunc(vol.Projected.Sources, func(s core.VolumeProjection) bool { return s.ConfigMap != nil || s.Secret != nil })
	}
	return vol.ConfigMap != nil || vol.Secret != nil
}

// collect gathers the content of vol in p.
func (v *Volumes) collect(ctx context.Context, pod *core.Pod, vol *core.Volume, dir string, now time.Time, p payload) (renew time.Time, err error) {
	switch {
	case vol.ConfigMap != nil:
		s := vol.ConfigMap
		return renew, v.configMap(pod.Namespace, s.Name, s.Items, s.Optional, mode(s.DefaultMode), p)
	case vol.Secret != nil:
		s := vol.Secret
		return renew, v.secret(pod.Namespace, s.SecretName, s.Items, s.Optional, mode(s.DefaultMode), p)
	case vol.DownwardAPI != nil:
		return renew, v.downward(pod, vol.DownwardAPI.Items, mode(vol.DownwardAPI.DefaultMode), p)
	}
	m := mode(vol.Projected.DefaultMode)
	var errs []error
	for i := range vol.Projected.Sources {
		s := &vol.Projected.Sources[i]
		switch {
		case s.ConfigMap != nil:
			errs = append(errs, v.configMap(pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, m, p))
		case s.Secret != nil:
			errs = append(errs, v.secret(pod.Namespace, s.Secret.Name, s.Secret.Items, s.Secret.Optional, m, p))
		case s.DownwardAPI != nil:
			errs = append(errs, v.downward(pod, s.DownwardAPI.Items, m, p))
		case s.ServiceAccountToken != nil:
			at, err := v.token(ctx, pod, s.ServiceAccountToken, dir, now, m, p)
			errs = append(errs, err)
			renew = earlier(renew, at)
		case s.ClusterTrustBundle != nil:
			errs = append(errs, v.trustBundle(s.ClusterTrustBundle, private(pod, m), p))
		case s.PodCertificate != nil:
			at, err := v.certificate(ctx, podcert.Want{Pod: pod, Volume: vol.Name, Index: i, Source: s.PodCertificate}, dir, now, private(pod, m), p)
			errs = append(errs, err)
			renew = earlier(renew, at)
		default:
			errs = append(errs, errors.New("this projected source is not supported"))
		}
	}
	return renew, errors.Join(errs...)
}

// earlier is the earlier of two times; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func mode(m *int32) int32 {
	if m == nil {
		return defaultMode
	}
	return *m
}

func (v *Volumes) configMap(ns, name string, items []core.KeyToPath, optional *bool, m int32, p payload) error {
	cm, err := v.Sources.ConfigMap(ns, name)
	if err != nil {
		return ignoreMissing(err, optional)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, d := range cm.Data {
		data[k] = []byte(d)
	}
	for k, d := range cm.BinaryData {
		data[k] = d
	}
	return project(data, items, optional, m, "config", p)
}

func (v *Volumes) secret(ns, name string, items []core.KeyToPath, optional *bool, m int32, p payload) error {
	s, err := v.Sources.Secret(ns, name)
	if err != nil {
		return ignoreMissing(err, optional)
	}
	return project(s.Data, items, optional, m, "secret", p)
}

// project puts the keys of data, or of items only, into p.
func project(data map[string][]byte, items []core.KeyToPath, optional *bool, m int32, what string, p payload) error {
	if len(items) == 0 {
		for k, d := range data {
			p[k] = file{data: d, mode: m}
		}
		return nil
	}
	for _, item := range items {
		d, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("references non-existent %s key: %s", what, item.Key)
		}
		f := file{data: d, mode: m}
		if item.Mode != nil {
			f.mode = *item.Mode
		}
		p[filepath.Clean(item.Path)] = f
	}
	return nil
}

func (v *Volumes) downward(pod *core.Pod, items []core.DownwardAPIVolumeFile, m int32, p payload) error {
	for i := range items {
		item := &items[i]
		f := file{mode: m}
		if item.Mode != nil {
			f.mode = *item.Mode
		}
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = spec.Field(v.Node, pod, item.FieldRef.FieldPath, nil)
		case item.ResourceFieldRef != nil:
			c, _ := spec.FindContainer(pod, item.ResourceFieldRef.ContainerName)
			if c == nil {
				return fmt.Errorf("container %s not found", item.ResourceFieldRef.ContainerName)
			}
			value, err = spec.ResourceField(v.Node, pod, c, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		f.data = []byte(value)
		p[filepath.Clean(item.Path)] = f
	}
	return nil
}

// token puts a service account token into p: the one on disk while it is young, a new one after four fifths of its life.
func (v *Volumes) token(ctx context.Context, pod *core.Pod, src *core.ServiceAccountTokenProjection, dir string, now time.Time, m int32, p payload) (renew time.Time, err error) {
	path := filepath.Clean(src.Path)
	f := private(pod, m)
	if old, err := os.ReadFile(filepath.Join(dir, path)); err == nil {
		if renew := renewAt(string(old)); now.Before(renew) {
			f.data = old
			p[path] = f
			return renew, nil
		}
	}
	seconds := int64(3600)
	if src.ExpirationSeconds != nil {
		seconds = *src.ExpirationSeconds
	}
	token, err := v.Sources.Token(ctx, pod, src.Audience, seconds)
	if err != nil {
		return time.Time{}, err
	}
	f.data = []byte(token)
	p[path] = f
	renew = renewAt(token)
	if !renew.After(now) { // a token that we cannot read
		renew = now.Add(time.Duration(seconds) * time.Second * 4 / 5)
	}
	return renew, nil
}

// private is a file for the pod's user, or its group, alone, where it has one for all its containers.
func private(pod *core.Pod, m int32) file {
	f := file{mode: m}
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		f.mode = 0o600
	} else if uid := commonUser(pod); uid != nil {
		f.mode, f.uid = 0o600, uid
	}
	return f
}

// renewAt is when four fifths of the token's life are over, at most a day after its issue; zero if it is not a JWT with iat and exp.
func renewAt(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct{ Iat, Exp float64 }
	if json.Unmarshal(body, &claims) != nil || claims.Exp <= claims.Iat {
		return time.Time{}
	}
	life := time.Duration((claims.Exp - claims.Iat) * float64(time.Second))
	return time.Unix(int64(claims.Iat), 0).Add(min(life*4/5, 24*time.Hour))
}

// commonUser is the user that all containers run as, nil if they differ or leave it to the image.
func commonUser(pod *core.Pod) *int64 {
	var common *int64
	for _, list := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			var uid *int64
			if sc := pod.Spec.SecurityContext; sc != nil {
				uid = sc.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				uid = sc.RunAsUser
			}
			if uid == nil || common != nil && *uid != *common {
				return nil
			}
			common = uid
		}
	}
	return common
}

func ignoreMissing(err error, optional *bool) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
