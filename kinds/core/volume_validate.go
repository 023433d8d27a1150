package core

import (
	"fmt"
	"path"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

const (
	oneVolumeType = "may not specify more than 1 volume type"
	fileModeRange = "must be a number between 0 and 0777 (octal), both inclusive"
)

func (c *podCheck) allVolumes(p *field.Path) {
	created := map[string]bool{} // claims that come from ephemeral volumes
	if c.meta != nil && c.meta.Name != "" {
		for _, v := range c.spec.Volumes {
			if v.Ephemeral != nil {
				created[c.meta.Name+"-"+v.Name] = true
			}
		}
	}
	c.volumes = map[string]core.VolumeSource{}
	for i := range c.spec.Volumes {
		v, at := &c.spec.Volumes[i], p.Index(i)
		before := len(c.List)
		c.volumeSource(at, v)
		if v.Name == "" {
			c.Required(at.Child("name"), "")
		} else {
			c.Label(at.Child("name"), v.Name)
		}
		if _, ok := c.volumes[v.Name]; ok {
			c.Duplicate(at.Child("name"), v.Name)
		}
		if len(c.List) == before {
			c.volumes[v.Name] = v.VolumeSource
		}
		if pvc := v.PersistentVolumeClaim; pvc != nil && created[pvc.ClaimName] {
			c.Invalid(at.Child("persistentVolumeClaim", "claimName"), pvc.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume")
		}
	}
}

// oneSource counts the sources of a volume and checks the first.
type oneSource struct {
	*check.Errors
	p *field.Path
	n int
}

func (o *oneSource) is(name string, set bool, check func(p *field.Path)) {
	if !set {
		return
	}
	if o.n++; o.n > 1 {
		o.Forbidden(o.p.Child(name), oneVolumeType)
		return
	}
	check(o.p.Child(name))
}

func (c *podCheck) volumeSource(p *field.Path, v *core.Volume) {
	one := &oneSource{Errors: c.Errors, p: p}
	one.is("emptyDir", v.EmptyDir != nil, func(p *field.Path) {
		if s := v.EmptyDir.SizeLimit; s != nil && s.Sign() < 0 {
			c.Forbidden(p.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")
		}
	})
	one.is("hostPath", v.HostPath != nil, func(p *field.Path) { hostPath(c.Errors, p, v.HostPath) })
	one.is("secret", v.Secret != nil, func(p *field.Path) {
		if v.Secret.SecretName == "" {
			c.Required(p.Child("secretName"), "")
		}
		c.fileMode(p.Child("defaultMode"), v.Secret.DefaultMode)
		c.keysToPaths(p.Child("items"), v.Secret.Items)
	})
	one.is("nfs", v.NFS != nil, func(p *field.Path) { nfs(c.Errors, p, v.NFS) })
	one.is("persistentVolumeClaim", v.PersistentVolumeClaim != nil, func(p *field.Path) {
		if v.PersistentVolumeClaim.ClaimName == "" {
			c.Required(p.Child("claimName"), "")
		}
	})
	one.is("downwardAPI", v.DownwardAPI != nil, func(p *field.Path) {
		c.fileMode(p.Child("defaultMode"), v.DownwardAPI.DefaultMode)
		for i := range v.DownwardAPI.Items {
			c.downwardFile(p, &v.DownwardAPI.Items[i])
		}
	})
	one.is("configMap", v.ConfigMap != nil, func(p *field.Path) {
		if v.ConfigMap.Name == "" {
			c.Required(p.Child("name"), "")
		}
		c.fileMode(p.Child("defaultMode"), v.ConfigMap.DefaultMode)
		c.keysToPaths(p.Child("items"), v.ConfigMap.Items)
	})
	one.is("projected", v.Projected != nil, func(p *field.Path) { c.projected(p, v.Projected) })
	one.is("csi", v.CSI != nil, func(p *field.Path) { c.csiVolume(p, v.CSI) })
	one.is("ephemeral", v.Ephemeral != nil, func(at *field.Path) { c.ephemeral(at, p, v) })
	one.is("image", v.Image != nil, func(p *field.Path) {
		if c.meta != nil && v.Image.Reference == "" {
			c.Required(p.Child("reference"), "")
		}
		validatePullPolicy(c.Errors, p.Child("pullPolicy"), v.Image.PullPolicy)
	})
	legacySources(one, v)
	if one.n == 0 {
		c.Required(p, "must specify a volume type")
	}
}

func hostPath(e *check.Errors, p *field.Path, h *core.HostPathVolumeSource) {
	if h.Path == "" {
		e.Required(p.Child("path"), "")
		return
	}
	noBacksteps(e, p.Child("path"), h.Path)
	if h.Type != nil {
		check.OneOf(e, p.Child("type"), *h.Type, core.HostPathUnset, core.HostPathBlockDev, core.HostPathCharDev, core.HostPathDirectory,
			core.HostPathDirectoryOrCreate, core.HostPathFile, core.HostPathFileOrCreate, core.HostPathSocket)
	}
}

func nfs(e *check.Errors, p *field.Path, n *core.NFSVolumeSource) {
	if n.Server == "" {
		e.Required(p.Child("server"), "")
	}
	if n.Path == "" {
		e.Required(p.Child("path"), "")
	}
	if !path.IsAbs(n.Path) {
		e.Invalid(p.Child("path"), n.Path, "must be an absolute path")
	}
}

func (c *podCheck) fileMode(p *field.Path, m *int32) {
	if m != nil && (*m < 0 || *m > 0o777) {
		c.Invalid(p, *m, fileModeRange)
	}
}

func (c *podCheck) keysToPaths(p *field.Path, items []core.KeyToPath) {
	for i, k := range items {
		at := p.Index(i)
		if k.Key == "" {
			c.Required(at.Child("key"), "")
		}
		if k.Path == "" {
			c.Required(at.Child("path"), "")
		}
		filePath(c.Errors, at.Child("path"), k.Path)
		c.fileMode(at.Child("mode"), k.Mode)
	}
}

func (c *podCheck) downwardFile(p *field.Path, f *core.DownwardAPIVolumeFile) {
	if f.Path == "" {
		c.Required(p.Child("path"), "")
	}
	filePath(c.Errors, p.Child("path"), f.Path)
	switch {
	case f.FieldRef != nil:
		fieldRef(c.Errors, p.Child("fieldRef"), f.FieldRef, fileFields)
		if f.ResourceFieldRef != nil {
			c.Invalid(p, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		}
	case f.ResourceFieldRef != nil:
		resourceRef(c.Errors, p.Child("resourceFieldRef"), f.ResourceFieldRef, true)
	default:
		c.Required(p, "one of fieldRef and resourceFieldRef is required")
	}
	c.fileMode(p.Child("mode"), f.Mode)
}

func (c *podCheck) csiVolume(p *field.Path, v *core.CSIVolumeSource) {
	CSIDriverName(c.Errors, p.Child("driver"), v.Driver)
	if r := v.NodePublishSecretRef; r != nil {
		if r.Name == "" {
			c.Required(p.Child("nodePublishSecretRef", "name"), "")
		} else {
			c.Subdomain(p.Child("name"), r.Name)
		}
	}
}

// CSIDriverName checks the name of a CSI driver, at most 63 characters.
func CSIDriverName(e *check.Errors, p *field.Path, name string) {
	if name == "" {
		e.Required(p, "")
		return
	}
	if len(name) > 63 {
		e.Add(field.TooLong(p, "", 63))
	}
	e.Invalids(p, name, isSubdomain(strings.ToLower(name)))
}

// ephemeral checks the volume v, which stands at p; at is its ephemeral part.
func (c *podCheck) ephemeral(at, p *field.Path, v *core.Volume) {
	t := v.Ephemeral.VolumeClaimTemplate
	if t == nil {
		c.Required(at.Child("volumeClaimTemplate"), "")
	} else {
		m := at.Child("volumeClaimTemplate", "metadata")
		c.Annotations(m.Child("annotations"), t.Annotations)
		c.Labels(m.Child("labels"), t.Labels)
		OnlyLabelsAndAnnotations(c.Errors, m, t.ObjectMeta)
		claimSpec(c.Errors, at.Child("volumeClaimTemplate", "spec"), &t.Spec)
	}
	if c.meta != nil && c.meta.Name != "" && v.Name != "" {
		name := c.meta.Name + "-" + v.Name
		for _, msg := range isSubdomain(name) {
			c.Invalid(p.Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", name, msg))
		}
	}
}
