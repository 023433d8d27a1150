package core

import (
	"fmt"
	"path"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/volumes"
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

func (c *podCheck) volumeSource(p *field.Path, v *core.Volume) {
	set := volumes.Sources(&v.VolumeSource)
	if len(set) == 0 {
		c.Required(p, "must specify a volume type")
		return
	}
	at := p.Child(set[0])
	switch set[0] {
	case "emptyDir":
		if s := v.EmptyDir.SizeLimit; s != nil && s.Sign() < 0 {
			c.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")
		}
	case "hostPath":
		hostPath(c.Errors, at, v.HostPath)
	case "secret":
		c.NotEmpty(at.Child("secretName"), v.Secret.SecretName)
		c.fileMode(at.Child("defaultMode"), v.Secret.DefaultMode)
		c.keysToPaths(at.Child("items"), v.Secret.Items)
	case "nfs":
		nfs(c.Errors, at, v.NFS)
	case "persistentVolumeClaim":
		c.NotEmpty(at.Child("claimName"), v.PersistentVolumeClaim.ClaimName)
	case "downwardAPI":
		c.fileMode(at.Child("defaultMode"), v.DownwardAPI.DefaultMode)
		for i := range v.DownwardAPI.Items {
			c.downwardFile(at, &v.DownwardAPI.Items[i])
		}
	case "configMap":
		c.NotEmpty(at.Child("name"), v.ConfigMap.Name)
		c.fileMode(at.Child("defaultMode"), v.ConfigMap.DefaultMode)
		c.keysToPaths(at.Child("items"), v.ConfigMap.Items)
	case "projected":
		c.projected(at, v.Projected)
	case "csi":
		c.csiVolume(at, v.CSI)
	case "ephemeral":
		c.ephemeral(at, p, v)
	case "image":
		if c.meta != nil {
			c.NotEmpty(at.Child("reference"), v.Image.Reference)
		}
		validatePullPolicy(c.Errors, at.Child("pullPolicy"), v.Image.PullPolicy)
	default:
		volumes.Legacy(c.Errors, p, v.Name, set[0], &v.VolumeSource)
	}
	for _, name := range set[1:] {
		if name == "downwardAPI" {
			name = "downwarAPI" // as Kubernetes spells it here
		}
		c.Forbidden(p.Child(name), oneVolumeType)
	}
}

func hostPath(e *check.Errors, p *field.Path, h *core.HostPathVolumeSource) {
	if h.Path == "" {
		e.Required(p.Child("path"), "")
		return
	}
	volumes.NoBacksteps(e, p.Child("path"), h.Path)
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
