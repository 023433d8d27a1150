package core

import (
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// The sources in this file came from storage plugins inside Kubernetes, most of which are gone. Objects that name them are still
// valid, so they are checked, but no node mounts them except through a CSI driver.

// legacySources checks the older sources of a pod's volume.
func legacySources(one *oneSource, v *core.Volume) {
	e := one.Errors
	one.is("gitRepo", v.GitRepo != nil, func(p *field.Path) {
		need(e, p.Child("repository"), v.GitRepo.Repository)
		descendingPath(e, p.Child("directory"), v.GitRepo.Directory)
	})
	one.is("gcePersistentDisk", v.GCEPersistentDisk != nil, func(*field.Path) { gceDisk(e, one.p.Child("persistentDisk"), v.GCEPersistentDisk) })
	one.is("awsElasticBlockStore", v.AWSElasticBlockStore != nil, func(p *field.Path) { awsVolume(e, p, v.AWSElasticBlockStore) })
	one.is("iscsi", v.ISCSI != nil, func(p *field.Path) {
		s := v.ISCSI
		iscsi(e, p, iscsiSource{s.TargetPortal, s.IQN, s.Lun, (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil, s.InitiatorName})
		if s.InitiatorName != nil && len(v.Name+":"+s.TargetPortal) > 64 {
			e.Invalid(one.p.Child("name"), v.Name, iscsiTooLong)
		}
	})
	one.is("glusterfs", v.Glusterfs != nil, func(p *field.Path) {
		need(e, p.Child("endpoints"), v.Glusterfs.EndpointsName)
		need(e, p.Child("path"), v.Glusterfs.Path)
	})
	one.is("flocker", v.Flocker != nil, func(p *field.Path) { flocker(e, p, v.Flocker) })
	one.is("rbd", v.RBD != nil, func(p *field.Path) { rbd(e, p, v.RBD.CephMonitors, v.RBD.RBDImage) })
	one.is("cinder", v.Cinder != nil, func(p *field.Path) {
		need(e, p.Child("volumeID"), v.Cinder.VolumeID)
		if v.Cinder.SecretRef != nil {
			need(e, p.Child("secretRef", "name"), v.Cinder.SecretRef.Name)
		}
	})
	one.is("cephFS", v.CephFS != nil, func(*field.Path) { cephFS(e, one.p.Child("cephfs"), v.CephFS.Monitors) })
	one.is("quobyte", v.Quobyte != nil, func(p *field.Path) { quobyte(e, p, v.Quobyte) })
	one.is("fc", v.FC != nil, func(p *field.Path) { fibreChannel(e, p, v.FC) })
	one.is("flexVolume", v.FlexVolume != nil, func(p *field.Path) { flex(e, p, v.FlexVolume.Driver, v.FlexVolume.Options) })
	one.is("azureFile", v.AzureFile != nil, func(p *field.Path) {
		need(e, p.Child("secretName"), v.AzureFile.SecretName)
		need(e, p.Child("shareName"), v.AzureFile.ShareName)
	})
	one.is("vsphereVolume", v.VsphereVolume != nil, func(p *field.Path) { need(e, p.Child("volumePath"), v.VsphereVolume.VolumePath) })
	one.is("photonPersistentDisk", v.PhotonPersistentDisk != nil, func(p *field.Path) { need(e, p.Child("pdID"), v.PhotonPersistentDisk.PdID) })
	one.is("portworxVolume", v.PortworxVolume != nil, func(p *field.Path) { need(e, p.Child("volumeID"), v.PortworxVolume.VolumeID) })
	one.is("azureDisk", v.AzureDisk != nil, func(p *field.Path) { azureDisk(e, p, v.AzureDisk) })
	one.is("storageos", v.StorageOS != nil, func(p *field.Path) {
		storageOS(e, p, v.StorageOS.VolumeName, v.StorageOS.VolumeNamespace)
		if v.StorageOS.SecretRef != nil {
			need(e, p.Child("secretRef", "name"), v.StorageOS.SecretRef.Name)
		}
	})
	one.is("scaleIO", v.ScaleIO != nil, func(p *field.Path) { scaleIO(e, p, v.ScaleIO.Gateway, v.ScaleIO.System, v.ScaleIO.VolumeName) })
}

// legacyPersistent checks the older sources of a persistent volume of this name.
func legacyPersistent(one *oneSource, s *core.PersistentVolumeSource, name string) {
	e := one.Errors
	one.is("gcePersistentDisk", s.GCEPersistentDisk != nil, func(*field.Path) { gceDisk(e, one.p.Child("persistentDisk"), s.GCEPersistentDisk) })
	one.is("awsElasticBlockStore", s.AWSElasticBlockStore != nil, func(p *field.Path) { awsVolume(e, p, s.AWSElasticBlockStore) })
	one.is("glusterfs", s.Glusterfs != nil, func(p *field.Path) {
		need(e, p.Child("endpoints"), s.Glusterfs.EndpointsName)
		need(e, p.Child("path"), s.Glusterfs.Path)
	})
	one.is("flocker", s.Flocker != nil, func(p *field.Path) { flocker(e, p, s.Flocker) })
	one.is("rbd", s.RBD != nil, func(p *field.Path) { rbd(e, p, s.RBD.CephMonitors, s.RBD.RBDImage) })
	one.is("quobyte", s.Quobyte != nil, func(p *field.Path) { quobyte(e, p, s.Quobyte) })
	one.is("cephFS", s.CephFS != nil, func(*field.Path) { cephFS(e, one.p.Child("cephfs"), s.CephFS.Monitors) })
	one.is("iscsi", s.ISCSI != nil, func(p *field.Path) {
		i := s.ISCSI
		iscsi(e, p, iscsiSource{i.TargetPortal, i.IQN, i.Lun, (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil, i.InitiatorName})
		if i.InitiatorName != nil && len(name+":"+i.TargetPortal) > 64 {
			e.Invalid(p.Child("targetportal"), i.TargetPortal, iscsiTooLong)
		}
		if i.SecretRef != nil {
			need(e, p.Child("secretRef", "name"), i.SecretRef.Name)
		}
	})
	one.is("cinder", s.Cinder != nil, func(p *field.Path) {
		need(e, p.Child("volumeID"), s.Cinder.VolumeID)
		if r := s.Cinder.SecretRef; r != nil {
			need(e, p.Child("secretRef", "name"), r.Name)
			need(e, p.Child("secretRef", "namespace"), r.Namespace)
		}
	})
	one.is("fc", s.FC != nil, func(p *field.Path) { fibreChannel(e, p, s.FC) })
	one.is("flexVolume", s.FlexVolume != nil, func(p *field.Path) { flex(e, p, s.FlexVolume.Driver, s.FlexVolume.Options) })
	one.is("azureFile", s.AzureFile != nil, func(p *field.Path) {
		need(e, p.Child("secretName"), s.AzureFile.SecretName)
		need(e, p.Child("shareName"), s.AzureFile.ShareName)
		if ns := s.AzureFile.SecretNamespace; ns != nil {
			need(e, p.Child("secretNamespace"), *ns)
		}
	})
	one.is("vsphereVolume", s.VsphereVolume != nil, func(p *field.Path) { need(e, p.Child("volumePath"), s.VsphereVolume.VolumePath) })
	one.is("photonPersistentDisk", s.PhotonPersistentDisk != nil, func(p *field.Path) { need(e, p.Child("pdID"), s.PhotonPersistentDisk.PdID) })
	one.is("portworxVolume", s.PortworxVolume != nil, func(p *field.Path) { need(e, p.Child("volumeID"), s.PortworxVolume.VolumeID) })
	one.is("azureDisk", s.AzureDisk != nil, func(p *field.Path) { azureDisk(e, p, s.AzureDisk) })
	one.is("scaleIO", s.ScaleIO != nil, func(p *field.Path) { scaleIO(e, p, s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName) })
	one.is("storageos", s.StorageOS != nil, func(p *field.Path) {
		storageOS(e, p, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace)
		if r := s.StorageOS.SecretRef; r != nil {
			need(e, p.Child("secretRef", "name"), r.Name)
			need(e, p.Child("secretRef", "namespace"), r.Namespace)
		}
	})
}

func need(e *check.Errors, p *field.Path, v string) {
	if v == "" {
		e.Required(p, "")
	}
}

func partition(e *check.Errors, p *field.Path, n int32) {
	if n < 0 || n > 255 {
		e.Invalid(p, n, utilvalidation.InclusiveRangeError(1, 255))
	}
}

func gceDisk(e *check.Errors, p *field.Path, d *core.GCEPersistentDiskVolumeSource) {
	need(e, p.Child("pdName"), d.PDName)
	partition(e, p.Child("partition"), d.Partition)
}

func awsVolume(e *check.Errors, p *field.Path, d *core.AWSElasticBlockStoreVolumeSource) {
	need(e, p.Child("volumeID"), d.VolumeID)
	partition(e, p.Child("partition"), d.Partition)
}

const iscsiTooLong = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."

var iscsiNames = sync.OnceValue(func() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
		"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
		"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
	}
})

type iscsiSource struct {
	portal, iqn string
	lun         int32
	needsSecret bool
	initiator   *string
}

func iscsi(e *check.Errors, p *field.Path, s iscsiSource) {
	need(e, p.Child("targetPortal"), s.portal)
	if s.iqn == "" {
		e.Required(p.Child("iqn"), "")
	} else {
		iscsiName(e, p.Child("iqn"), s.iqn)
	}
	if s.lun < 0 || s.lun > 255 {
		e.Invalid(p.Child("lun"), s.lun, utilvalidation.InclusiveRangeError(0, 255))
	}
	if s.needsSecret {
		e.Required(p.Child("secretRef"), "")
	}
	if s.initiator != nil {
		iscsiName(e, p.Child("initiatorname"), *s.initiator)
	}
}

func iscsiName(e *check.Errors, p *field.Path, name string) {
	switch re := iscsiNames()[name[:min(3, len(name))]]; {
	case re == nil:
		e.Invalid(p, name, "must be valid format starting with iqn, eui, or naa")
	case !re.MatchString(name):
		e.Invalid(p, name, "must be valid format")
	}
}

func flocker(e *check.Errors, p *field.Path, f *core.FlockerVolumeSource) {
	if f.DatasetName == "" && f.DatasetUUID == "" {
		e.Required(p, "one of datasetName and datasetUUID is required")
	}
	if f.DatasetName != "" && f.DatasetUUID != "" {
		e.Invalid(p, "resource", "datasetName and datasetUUID can not be specified simultaneously")
	}
	if strings.Contains(f.DatasetName, "/") {
		e.Invalid(p.Child("datasetName"), f.DatasetName, "must not contain '/'")
	}
}

func rbd(e *check.Errors, p *field.Path, monitors []string, image string) {
	cephFS(e, p, monitors)
	need(e, p.Child("image"), image)
}

func cephFS(e *check.Errors, p *field.Path, monitors []string) {
	if len(monitors) == 0 {
		e.Required(p.Child("monitors"), "")
	}
}

func quobyte(e *check.Errors, p *field.Path, q *core.QuobyteVolumeSource) {
	const registry = "must be a host:port pair or multiple pairs separated by commas"
	switch {
	case q.Registry == "":
		e.Required(p.Child("registry"), registry)
	case len(q.Tenant) >= 65:
		e.Required(p.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
	default:
		for pair := range strings.SplitSeq(q.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				e.Invalid(p.Child("registry"), q.Registry, registry)
			}
		}
	}
	need(e, p.Child("volume"), q.Volume)
}

func fibreChannel(e *check.Errors, p *field.Path, f *core.FCVolumeSource) {
	switch {
	case len(f.TargetWWNs) == 0 && len(f.WWIDs) == 0:
		e.Required(p.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both")
	case len(f.TargetWWNs) > 0 && len(f.WWIDs) > 0:
		e.Invalid(p.Child("targetWWNs"), f.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
	}
	if len(f.TargetWWNs) == 0 {
		return
	}
	if f.Lun == nil {
		e.Required(p.Child("lun"), "lun is required if targetWWNs is specified")
	} else if *f.Lun < 0 || *f.Lun > 255 {
		e.Invalid(p.Child("lun"), f.Lun, utilvalidation.InclusiveRangeError(0, 255))
	}
}

func flex(e *check.Errors, p *field.Path, driver string, options map[string]string) {
	need(e, p.Child("driver"), driver)
	for _, k := range slices.Sorted(maps.Keys(options)) {
		domain, _, _ := strings.Cut(k, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			e.Invalid(p.Child("options").Key(k), k, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

func azureDisk(e *check.Errors, p *field.Path, d *core.AzureDiskVolumeSource) {
	need(e, p.Child("diskName"), d.DiskName)
	need(e, p.Child("diskURI"), d.DataDiskURI)
	if d.CachingMode != nil {
		check.OneOf(e, p.Child("cachingMode"), *d.CachingMode,
			core.AzureDataDiskCachingNone, core.AzureDataDiskCachingReadOnly, core.AzureDataDiskCachingReadWrite)
	}
	if d.Kind == nil {
		return
	}
	check.OneOf(e, p.Child("kind"), *d.Kind, core.AzureDedicatedBlobDisk, core.AzureManagedDisk, core.AzureSharedBlobDisk)
	switch managed := *d.Kind == core.AzureManagedDisk; {
	case managed && !strings.HasPrefix(d.DataDiskURI, "/subscriptions/"):
		e.Add(field.NotSupported(p.Child("diskURI"), d.DataDiskURI,
			[]string{"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"}))
	case !managed && !strings.HasPrefix(d.DataDiskURI, "https://"):
		e.Add(field.NotSupported(p.Child("diskURI"), d.DataDiskURI,
			[]string{"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"}))
	}
}

func scaleIO(e *check.Errors, p *field.Path, gateway, system, volume string) {
	need(e, p.Child("gateway"), gateway)
	need(e, p.Child("system"), system)
	need(e, p.Child("volumeName"), volume)
}

func storageOS(e *check.Errors, p *field.Path, volume, namespace string) {
	if volume == "" {
		e.Required(p.Child("volumeName"), "")
	} else {
		e.Label(p.Child("volumeName"), volume)
	}
	if namespace != "" {
		e.Label(p.Child("volumeNamespace"), namespace)
	}
}
