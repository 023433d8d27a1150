package core

import (
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/volumes"
)

func (c *podCheck) mounts(p *field.Path, ctr *core.Container) {
	devices := map[string]string{} // by name
	for _, d := range ctr.VolumeDevices {
		devices[d.Name] = d.DevicePath
	}
	seen := map[string]bool{}
	for i, m := range ctr.VolumeMounts {
		at := p.Index(i)
		if m.Name == "" {
			c.Required(at.Child("name"), "")
		}
		if _, ok := c.volumes[m.Name]; !ok {
			c.NotFound(at.Child("name"), m.Name)
		}
		if m.MountPath == "" {
			c.Required(at.Child("mountPath"), "")
		}
		if seen[m.MountPath] {
			c.Invalid(at.Child("mountPath"), m.MountPath, "must be unique")
		}
		seen[m.MountPath] = true
		if _, ok := devices[m.Name]; ok {
			c.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices")
		}
		if hasValue(devices, m.MountPath) {
			c.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		}
		if m.SubPath != "" {
			volumes.DescendingPath(c.Errors, p.Child("subPath"), m.SubPath)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				c.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
			}
			volumes.DescendingPath(c.Errors, p.Child("subPathExpr"), m.SubPathExpr)
		}
		c.propagation(p.Child("mountPropagation"), m, ctr)
		c.recursiveReadOnly(p.Child("recursiveReadOnly"), m)
	}
}

func (c *podCheck) propagation(p *field.Path, m core.VolumeMount, ctr *core.Container) {
	if m.MountPropagation == nil {
		return
	}
	check.OneOf(c.Errors, p, *m.MountPropagation,
		core.MountPropagationBidirectional, core.MountPropagationHostToContainer, core.MountPropagationNone)
	if *m.MountPropagation == core.MountPropagationBidirectional && !isPrivileged(ctr) {
		c.Forbidden(p, "Bidirectional mount propagation is available only to privileged containers")
	}
}

func isPrivileged(c *core.Container) bool {
	return c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
}

func (c *podCheck) recursiveReadOnly(p *field.Path, m core.VolumeMount) {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == core.RecursiveReadOnlyDisabled {
		return
	}
	if !check.OneOf(c.Errors, p, *m.RecursiveReadOnly,
		core.RecursiveReadOnlyDisabled, core.RecursiveReadOnlyEnabled, core.RecursiveReadOnlyIfPossible) {
		return
	}
	if !m.ReadOnly {
		c.Forbidden(p, "may only be specified when readOnly is true")
	}
	if m.MountPropagation != nil && *m.MountPropagation != core.MountPropagationNone {
		c.Forbidden(p, "may only be specified when mountPropagation is None or not specified")
	}
}

func (c *podCheck) devices(p *field.Path, ctr *core.Container) {
	mounts := map[string]string{} // by name
	for _, m := range ctr.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	names, paths := map[string]bool{}, map[string]bool{}
	for i, d := range ctr.VolumeDevices {
		at := p.Index(i)
		source, found := c.volumes[d.Name]
		if d.Name == "" {
			c.Required(at.Child("name"), "")
		}
		if names[d.Name] {
			c.Invalid(at.Child("name"), d.Name, "must be unique")
		}
		if found && source.PersistentVolumeClaim == nil && source.Ephemeral == nil {
			c.Invalid(at.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		if !found {
			c.NotFound(at.Child("name"), d.Name)
		}
		if d.DevicePath == "" {
			c.Required(at.Child("devicePath"), "")
		}
		if paths[d.DevicePath] {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "must be unique")
		}
		if volumes.StepsBack(d.DevicePath) {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')")
		} else {
			paths[d.DevicePath] = true
		}
		if _, ok := mounts[d.Name]; ok {
			c.Invalid(at.Child("name"), d.Name, "must not already exist in volumeMounts")
		}
		if hasValue(mounts, d.DevicePath) {
			c.Invalid(at.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		names[d.Name] = d.Name != ""
	}
}

func hasValue(m map[string]string, v string) bool {
	for _, x := range m {
		if x == v {
			return true
		}
	}
	return false
}

// filePath is a descendingPath that is none of the names which atomic updates of a volume need.
func filePath(e *check.Errors, p *field.Path, v string) {
	volumes.DescendingPath(e, p, v)
	if strings.HasPrefix(v, "..") && !strings.HasPrefix(v, "../") {
		e.Invalid(p, v, "must not start with '..'")
	}
}
