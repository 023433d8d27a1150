package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
)

// successors are the CSI drivers that came after types of volumes that Kubernetes once mounted itself.
var successors = []struct {
	is     func(v *core.VolumeSource, p *core.PersistentVolumeSource) bool
	name   string
	driver string
}{
	{func(v *core.VolumeSource, p *core.PersistentVolumeSource) bool {
		return v.GCEPersistentDisk != nil || p.GCEPersistentDisk != nil
	}, "gcePersistentDisk", "pd.csi.storage.gke.io"},
	{func(v *core.VolumeSource, p *core.PersistentVolumeSource) bool {
		return v.AWSElasticBlockStore != nil || p.AWSElasticBlockStore != nil
	}, "awsElasticBlockStore", "ebs.csi.aws.com"},
	{func(v *core.VolumeSource, p *core.PersistentVolumeSource) bool {
		return v.AzureDisk != nil || p.AzureDisk != nil
	}, "azureDisk", "disk.csi.azure.com"},
	{func(v *core.VolumeSource, p *core.PersistentVolumeSource) bool {
		return v.AzureFile != nil || p.AzureFile != nil
	}, "azureFile", "file.csi.azure.com"},
	{func(v *core.VolumeSource, p *core.PersistentVolumeSource) bool {
		return v.Cinder != nil || p.Cinder != nil
	}, "cinder", "cinder.csi.openstack.org"},
	{func(v *core.VolumeSource, p *core.PersistentVolumeSource) bool {
		return v.VsphereVolume != nil || p.VsphereVolume != nil
	}, "vsphereVolume", "csi.vsphere.vmware.com"},
	{func(v *core.VolumeSource, p *core.PersistentVolumeSource) bool {
		return v.PortworxVolume != nil || p.PortworxVolume != nil
	}, "portworxVolume", "pxd.portworx.com"},
}

// unknown says why a volume of a type that nobody here mounts cannot be had.
func unknown(v *core.VolumeSource, p *core.PersistentVolumeSource) error {
	if v == nil {
		v = &core.VolumeSource{}
	}
	if p == nil {
		p = &core.PersistentVolumeSource{}
	}
	for _, s := range successors {
		if s.is(v, p) {
			return fmt.Errorf("no volume plugin matched: volumes of type %s are mounted by the CSI driver %s: use a volume of that driver", s.name, s.driver)
		}
	}
	if v.FlexVolume != nil || p.FlexVolume != nil {
		return errors.New("no volume plugin matched: flexVolumes are not supported: use a CSI driver")
	}
	return errors.New("no volume plugin matched")
}

// mountWithin bounds one call of mount(8): a server that does not answer must not hold a pod for ever.
const mountWithin = 2 * time.Minute

// nfsDir is where an NFS volume of a pod lies.
func (v *Volumes) nfsDir(pod *core.Pod, name string) string { return v.dir(pod.UID, "nfs", name) }

// nfs mounts an NFS export, with the host's mount(8), which knows the protocol's helpers.
func (v *Volumes) nfs(ctx context.Context, dir string, src *core.NFSVolumeSource, options []string) error {
	if isMountPoint(dir) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if src.ReadOnly {
		options = append([]string{"ro"}, options...)
	}
	args := []string{"-t", "nfs"}
	if len(options) > 0 {
		args = append(args, "-o", strings.Join(options, ","))
	}
	server := src.Server
	if strings.Contains(server, ":") && !strings.HasPrefix(server, "[") { // IPv6
		server = "[" + server + "]"
	}
	ctx, cancel := context.WithTimeout(ctx, mountWithin)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mount", append(args, server+":"+filepath.Clean("/"+src.Path), dir)...).CombinedOutput()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("mount failed: %w\nOutput: %s", err, strings.TrimSpace(string(out)))
	if !hasHelper("mount.nfs") {
		err = fmt.Errorf("%w\nthe node has no program mount.nfs: install the package nfs-common (nfs-utils elsewhere than in Debian)", err)
	}
	if isMountPoint(dir) {
		return err
	}
	return errors.Join(err, os.Remove(dir))
}

// hasHelper says whether mount(8) finds a program for a type of file systems, which it looks for in these places alone.
func hasHelper(name string) bool {
	return slices.ContainsFunc([]string{"/sbin", "/usr/sbin", "/usr/local/sbin"}, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
}
