package overlap

import (
	"fmt"
	"strings"

	core "k8s.io/api/core/v1"
)

// file is where a volume puts one file, and from which of its sources, in words.
type file struct{ path, source string }

func (f file) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// Warn warns of files of one volume that get into each other's way: the same path twice, or one a directory of the other.
func Warn(v *core.Volume) (out []string) {
	switch {
	case v.ConfigMap != nil:
		return overlaps(v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, ""))
	case v.Secret != nil:
		return overlaps(v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, ""))
	case v.DownwardAPI != nil:
		return overlaps(v.Name, "DownwardAPI", fieldFiles(v.DownwardAPI.Items, ""))
	case v.Projected != nil:
		var all []file
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			if *s == (core.VolumeProjection{}) {
				out = append(out, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
			}
			all = append(all, projectedFiles(s)...)
		}
		return append(out, overlaps(v.Name, "Projected", all)...)
	}
	return nil
}

func overlaps(volume, kind string, files []file) (out []string) {
	for i := range files {
		f := &files[i]
		f.path = strings.TrimRight(f.path, "/")
		for _, o := range files[:i] {
			if f.path != "" && o.path != "" && (strings.HasPrefix(o.path+"/", f.path+"/") || strings.HasPrefix(f.path+"/", o.path+"/")) {
				out = append(out, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, kind, f, o))
			}
		}
	}
	return out
}

func keyFiles(items []core.KeyToPath, source string) (out []file) {
	for _, i := range items {
		out = append(out, file{i.Path, source})
	}
	return out
}

func fieldFiles(items []core.DownwardAPIVolumeFile, source string) (out []file) {
	for _, i := range items {
		out = append(out, file{i.Path, source})
	}
	return out
}

func projectedFiles(s *core.VolumeProjection) []file {
	switch {
	case s.ConfigMap != nil:
		return keyFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil:
		return keyFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil:
		return fieldFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []file{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := s.ClusterTrustBundle.Name
		if name == nil {
			name = s.ClusterTrustBundle.SignerName
		}
		if name == nil {
			return nil // which fails validation
		}
		return []file{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", *name)}}
	case s.PodCertificate != nil:
		c := s.PodCertificate
		return []file{
			{c.CertificateChainPath, "PodCertificate chain"}, {c.KeyPath, "PodCertificate key"},
			{c.CredentialBundlePath, "PodCertificate credential bundle"},
		}
	}
	return nil
}
