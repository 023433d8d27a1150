package core

import (
	"fmt"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// paths are the files of a projected volume, which must not hide each other.
type paths struct {
	c    *podCheck
	p    *field.Path
	seen map[string]bool
}

// add notes a file; whose is shown in the error.
func (f *paths) add(path, whose string) {
	if path == "" {
		return
	}
	if f.seen[path] {
		f.c.Invalid(f.p, whose, "conflicting duplicate paths")
	}
	f.seen[path] = true
}

func (c *podCheck) projected(p *field.Path, v *core.ProjectedVolumeSource) {
	c.fileMode(p.Child("defaultMode"), v.DefaultMode)
	files := &paths{c, p, map[string]bool{}}
	for i := range v.Sources {
		c.projection(p, p.Child("sources").Index(i), &v.Sources[i], files)
	}
}

// projection checks one source, which stands at the path at in the volume at p.
func (c *podCheck) projection(p, at *field.Path, s *core.VolumeProjection, files *paths) {
	n := 0
	keyed := func(name, object string, items []core.KeyToPath) {
		n++
		if object == "" {
			c.Required(at.Child(name, "name"), "")
		}
		c.keysToPaths(at.Child(name, "items"), items)
		for _, k := range items {
			files.add(k.Path, object)
		}
	}
	if s.Secret != nil {
		keyed("secret", s.Secret.Name, s.Secret.Items)
	}
	if s.ConfigMap != nil {
		keyed("configMap", s.ConfigMap.Name, s.ConfigMap.Items)
	}
	if s.DownwardAPI != nil {
		n++
		for i := range s.DownwardAPI.Items {
			c.downwardFile(at.Child("downwardAPI"), &s.DownwardAPI.Items[i])
			files.add(s.DownwardAPI.Items[i].Path, s.DownwardAPI.Items[i].Path)
		}
	}
	if s.ServiceAccountToken != nil {
		n++
		c.tokenProjection(p, at.Child("serviceAccountToken"), s.ServiceAccountToken)
	}
	if s.ClusterTrustBundle != nil {
		n++
		c.trustBundle(at.Child("clusterTrustBundle"), s.ClusterTrustBundle, files)
	}
	if s.PodCertificate != nil {
		n++
		c.podCertificate(at.Child("podCertificate"), s.PodCertificate, files)
	}
	if n > 1 {
		c.Forbidden(at, "may not specify more than 1 volume type per source")
	}
}

func (c *podCheck) tokenProjection(p, at *field.Path, t *core.ServiceAccountTokenProjection) {
	var seconds int64
	if t.ExpirationSeconds != nil {
		seconds = *t.ExpirationSeconds
	}
	if seconds < 10*60 {
		c.Invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes")
	}
	if seconds > 1<<32 {
		c.Invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds")
	}
	if t.Path == "" {
		c.Required(p.Child("path"), "")
	} else {
		filePath(c.Errors, p.Child("path"), t.Path)
	}
}

func (c *podCheck) trustBundle(p *field.Path, b *core.ClusterTrustBundleProjection, files *paths) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		c.Invalid(p, b, "only one of name and signerName may be used")
	case b.Name != nil:
		if *b.Name == "" {
			c.Required(p.Child("name"), "must be a valid object name")
		}
		// A bundle of a signer is named "domain:path:name".
		last := (*b.Name)[strings.LastIndexByte(*b.Name, ':')+1:]
		for _, msg := range isSubdomain(last) {
			c.Invalid(p.Child("name"), *b.Name, "not a valid clustertrustbundlename: "+msg)
		}
		if b.LabelSelector != nil {
			c.Invalid(p.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified")
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			c.Required(p.Child("signerName"), "must be a valid signer name")
		}
		c.SignerName(p.Child("signerName"), *b.SignerName)
		c.Selector(p.Child("labelSelector"), b.LabelSelector)
	default:
		c.Required(p, "either name or signerName must be specified")
	}
	if b.Path == "" {
		c.Required(p.Child("path"), "")
	}
	filePath(c.Errors, p.Child("path"), b.Path)
	files.add(b.Path, b.Path)
}

// Bounds of a pod certificate's life, in seconds (KEP-4317).
const (
	minCertificate        = 3600
	maxCertificate        = 91 * 86400
	maxClusterCertificate = 86400 // by a signer of Kubernetes itself
)

func (c *podCheck) podCertificate(p *field.Path, v *core.PodCertificateProjection, files *paths) {
	c.SignerName(p.Child("signerName"), v.SignerName)
	c.UserAnnotations(p.Child("userAnnotations"), v.UserAnnotations)
	check.OneOf(c.Errors, p.Child("keyType"), v.KeyType, "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
	if s := v.MaxExpirationSeconds; s != nil {
		limit := int32(maxCertificate)
		if domain, _, _ := strings.Cut(v.SignerName, "/"); domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
			limit = maxClusterCertificate
		}
		if *s < minCertificate {
			c.Invalid(p.Child("maxExpirationSeconds"), *s, "if provided, maxExpirationSeconds must be >= 3600")
		}
		if *s > limit {
			c.Invalid(p.Child("maxExpirationSeconds"), *s, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", limit))
		}
	}
	n := 0
	for _, f := range [][2]string{
		{"credentialBundlePath", v.CredentialBundlePath}, {"keyPath", v.KeyPath}, {"certificateChainPath", v.CertificateChainPath},
	} {
		if f[1] != "" {
			n++
			filePath(c.Errors, p.Child(f[0]), f[1])
			files.add(f[1], f[1])
		}
	}
	if n == 0 {
		c.Required(p, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
	}
}
