package volumes

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

// Legacy checks a source of the volume of this name that a plugin inside Kubernetes once mounted; p is where the volume stands.
func Legacy(e *check.Errors, p *field.Path, name, source string, v *core.VolumeSource) {
	at := p.Child(source)
	switch source {
	case "gitRepo":
		e.NotEmpty(at.Child("repository"), v.GitRepo.Repository)
		DescendingPath(e, at.Child("directory"), v.GitRepo.Directory)
	case "gcePersistentDisk":
		gceDisk(e, p.Child("persistentDisk"), v.GCEPersistentDisk)
	case "awsElasticBlockStore":
		awsVolume(e, at, v.AWSElasticBlockStore)
	case "iscsi":
		s, chap, secret := v.ISCSI, v.ISCSI.DiscoveryCHAPAuth || v.ISCSI.SessionCHAPAuth, (*string)(nil)
		if s.SecretRef != nil {
			secret = &s.SecretRef.Name
		}
		iscsi(e, at, iscsiSource{s.TargetPortal, s.IQN, s.Lun, chap, secret, s.InitiatorName, ""})
		if s.InitiatorName != nil && len(name+":"+s.TargetPortal) > 64 {
			e.Invalid(p.Child("name"), name, iscsiTooLong)
		}
	case "glusterfs":
		e.NotEmpty(at.Child("endpoints"), v.Glusterfs.EndpointsName)
		e.NotEmpty(at.Child("path"), v.Glusterfs.Path)
	case "flocker":
		flocker(e, at, v.Flocker)
	case "rbd":
		rbd(e, at, v.RBD.CephMonitors, v.RBD.RBDImage)
	case "cinder":
		e.NotEmpty(at.Child("volumeID"), v.Cinder.VolumeID)
		if v.Cinder.SecretRef != nil {
			e.NotEmpty(at.Child("secretRef", "name"), v.Cinder.SecretRef.Name)
		}
	case "cephFS":
		cephFS(e, p.Child("cephfs"), v.CephFS.Monitors)
	case "quobyte":
		quobyte(e, at, v.Quobyte)
	case "fc":
		fibreChannel(e, at, v.FC)
	case "flexVolume":
		flex(e, at, v.FlexVolume.Driver, v.FlexVolume.Options)
	case "azureFile":
		e.NotEmpty(at.Child("secretName"), v.AzureFile.SecretName)
		e.NotEmpty(at.Child("shareName"), v.AzureFile.ShareName)
	default:
		lastLegacy(e, at, source, v)
	}
}

func lastLegacy(e *check.Errors, at *field.Path, source string, v *core.VolumeSource) {
	switch source {
	case "vsphereVolume":
		e.NotEmpty(at.Child("volumePath"), v.VsphereVolume.VolumePath)
	case "photonPersistentDisk":
		e.NotEmpty(at.Child("pdID"), v.PhotonPersistentDisk.PdID)
	case "portworxVolume":
		e.NotEmpty(at.Child("volumeID"), v.PortworxVolume.VolumeID)
	case "azureDisk":
		azureDisk(e, at, v.AzureDisk)
	case "storageos":
		storageOS(e, at, v.StorageOS.VolumeName, v.StorageOS.VolumeNamespace)
		if v.StorageOS.SecretRef != nil {
			e.NotEmpty(at.Child("secretRef", "name"), v.StorageOS.SecretRef.Name)
		}
	case "scaleIO":
		scaleIO(e, at, v.ScaleIO.Gateway, v.ScaleIO.System, v.ScaleIO.VolumeName)
	}
}

// LegacyPersistent does for a persistent volume what Legacy does for that of a pod.
func LegacyPersistent(e *check.Errors, p *field.Path, name, source string, s *core.PersistentVolumeSource) {
	at := p.Child(source)
	switch source {
	case "gcePersistentDisk":
		gceDisk(e, p.Child("persistentDisk"), s.GCEPersistentDisk)
	case "awsElasticBlockStore":
		awsVolume(e, at, s.AWSElasticBlockStore)
	case "glusterfs":
		e.NotEmpty(at.Child("endpoints"), s.Glusterfs.EndpointsName)
		e.NotEmpty(at.Child("path"), s.Glusterfs.Path)
		glusterNamespace(e, at.Child("endpointsNamespace"), s.Glusterfs.EndpointsNamespace)
	case "flocker":
		flocker(e, at, s.Flocker)
	case "rbd":
		rbd(e, at, s.RBD.CephMonitors, s.RBD.RBDImage)
	case "quobyte":
		quobyte(e, at, s.Quobyte)
	case "cephFS":
		cephFS(e, p.Child("cephfs"), s.CephFS.Monitors)
	case "iscsi":
		i, chap, secret := s.ISCSI, s.ISCSI.DiscoveryCHAPAuth || s.ISCSI.SessionCHAPAuth, (*string)(nil)
		if i.SecretRef != nil {
			secret = &i.SecretRef.Name
		}
		iscsi(e, at, iscsiSource{i.TargetPortal, i.IQN, i.Lun, chap, secret, i.InitiatorName, name})
	case "cinder":
		e.NotEmpty(at.Child("volumeID"), s.Cinder.VolumeID)
		secret(e, at.Child("secretRef"), s.Cinder.SecretRef)
	case "fc":
		fibreChannel(e, at, s.FC)
	case "flexVolume":
		flex(e, at, s.FlexVolume.Driver, s.FlexVolume.Options)
	case "azureFile":
		e.NotEmpty(at.Child("secretName"), s.AzureFile.SecretName)
		e.NotEmpty(at.Child("shareName"), s.AzureFile.ShareName)
		if ns := s.AzureFile.SecretNamespace; ns != nil {
			e.NotEmpty(at.Child("secretNamespace"), *ns)
		}
	default:
		lastPersistent(e, at, source, s)
	}
}

func lastPersistent(e *check.Errors, at *field.Path, source string, s *core.PersistentVolumeSource) {
	switch source {
	case "vsphereVolume":
		e.NotEmpty(at.Child("volumePath"), s.VsphereVolume.VolumePath)
	case "photonPersistentDisk":
		e.NotEmpty(at.Child("pdID"), s.PhotonPersistentDisk.PdID)
	case "portworxVolume":
		e.NotEmpty(at.Child("volumeID"), s.PortworxVolume.VolumeID)
	case "azureDisk":
		azureDisk(e, at, s.AzureDisk)
	case "scaleIO":
		scaleIO(e, at, s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName)
	case "storageos":
		storageOS(e, at, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace)
		if r := s.StorageOS.SecretRef; r != nil {
			e.NotEmpty(at.Child("secretRef", "name"), r.Name)
			e.NotEmpty(at.Child("secretRef", "namespace"), r.Namespace)
		}
	}
}

func secret(e *check.Errors, p *field.Path, r *core.SecretReference) {
	if r != nil {
		e.NotEmpty(p.Child("name"), r.Name)
		e.NotEmpty(p.Child("namespace"), r.Namespace)
	}
}

func glusterNamespace(e *check.Errors, p *field.Path, ns *string) {
	switch {
	case ns == nil:
	case *ns == "":
		e.Invalid(p, "", "if the endpointnamespace is set, it must be a valid namespace name")
	default:
		e.Label(p, *ns)
	}
}

func partition(e *check.Errors, p *field.Path, n int32) {
	if n < 0 || n > 255 {
		e.Invalid(p, n, utilvalidation.InclusiveRangeError(1, 255))
	}
}

func gceDisk(e *check.Errors, p *field.Path, d *core.GCEPersistentDiskVolumeSource) {
	e.NotEmpty(p.Child("pdName"), d.PDName)
	partition(e, p.Child("partition"), d.Partition)
}

func awsVolume(e *check.Errors, p *field.Path, d *core.AWSElasticBlockStoreVolumeSource) {
	e.NotEmpty(p.Child("volumeID"), d.VolumeID)
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
	chap        bool
	secret      *string // the name in secretRef; nil: there is none
	initiator   *string
	persistent  string // the name of a persistent volume; "": a volume of a pod
}

func iscsi(e *check.Errors, p *field.Path, s iscsiSource) {
	e.NotEmpty(p.Child("targetPortal"), s.portal)
	kinds := "must be valid format starting with iqn, eui, or naa"
	if s.persistent != "" {
		kinds = "must be valid format"
		if s.initiator != nil && len(s.persistent+":"+s.portal) > 64 {
			e.Invalid(p.Child("targetportal"), s.portal, iscsiTooLong)
		}
	}
	if s.iqn == "" {
		e.Required(p.Child("iqn"), "")
	} else {
		iscsiName(e, p.Child("iqn"), s.iqn, kinds)
	}
	if s.lun < 0 || s.lun > 255 {
		e.Invalid(p.Child("lun"), s.lun, utilvalidation.InclusiveRangeError(0, 255))
	}
	if s.chap && s.secret == nil {
		e.Required(p.Child("secretRef"), "")
	}
	if s.persistent != "" && s.secret != nil {
		e.NotEmpty(p.Child("secretRef", "name"), *s.secret)
	}
	if s.initiator != nil {
		iscsiName(e, p.Child("initiatorname"), *s.initiator, kinds)
	}
}

func iscsiName(e *check.Errors, p *field.Path, name, kinds string) {
	switch re := iscsiNames()[name[:min(3, len(name))]]; {
	case re == nil:
		e.Invalid(p, name, kinds)
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
	e.NotEmpty(p.Child("image"), image)
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
	e.NotEmpty(p.Child("volume"), q.Volume)
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
	e.NotEmpty(p.Child("driver"), driver)
	for _, k := range slices.Sorted(maps.Keys(options)) {
		domain, _, _ := strings.Cut(k, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			e.Invalid(p.Child("options").Key(k), k, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

func azureDisk(e *check.Errors, p *field.Path, d *core.AzureDiskVolumeSource) {
	e.NotEmpty(p.Child("diskName"), d.DiskName)
	e.NotEmpty(p.Child("diskURI"), d.DataDiskURI)
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
	e.NotEmpty(p.Child("gateway"), gateway)
	e.NotEmpty(p.Child("system"), system)
	e.NotEmpty(p.Child("volumeName"), volume)
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
