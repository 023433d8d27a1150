package storage

import (
	"reflect"
	"strings"
	"time"

	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/core/resources"
	"proa.dev/kinds/core/volumes"
)

// CSIDriver is storage.k8s.io/v1 CSIDriver: what a driver is able to do and needs to be told.
var CSIDriver = kinds.Def[storage.CSIDriver, *storage.CSIDriver]{
	Path:      "storage.k8s.io/v1/csidrivers",
	Versioned: true,
	Cluster:   true,
	Default:   defaultDriver,
	Prepare: func(d, old *storage.CSIDriver) {
		if old != nil && !equality.Semantic.DeepEqual(d.Spec, old.Spec) {
			d.Generation = old.Generation + 1 // from 0: a new driver has none
		}
	},
	Validate: validateDriver, ValidateUpdate: validateDriverUpdate,
	Warn: warnDriver,
	Columns: kinds.Columns("Name", "AttachRequired:boolean|"+storage.CSIDriverSpec{}.SwaggerDoc()["attachRequired"],
		"PodInfoOnMount:boolean|"+storage.CSIDriverSpec{}.SwaggerDoc()["podInfoOnMount"],
		"StorageCapacity:boolean|"+storage.CSIDriverSpec{}.SwaggerDoc()["storageCapacity"],
		"TokenRequests|"+storage.CSIDriverSpec{}.SwaggerDoc()["tokenRequests"],
		"RequiresRepublish:boolean|"+storage.CSIDriverSpec{}.SwaggerDoc()["requiresRepublish"],
		"Modes|"+storage.CSIDriverSpec{}.SwaggerDoc()["volumeLifecycleModes"], "Age"),
	Row: driverRow,
}

func defaultDriver(d *storage.CSIDriver) {
	s := &d.Spec
	orPtr(&s.AttachRequired, true)
	orPtr(&s.PodInfoOnMount, false)
	orPtr(&s.StorageCapacity, false)
	orPtr(&s.FSGroupPolicy, storage.ReadWriteOnceWithFSTypeFSGroupPolicy)
	orPtr(&s.RequiresRepublish, false)
	orPtr(&s.SELinuxMount, false)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storage.VolumeLifecycleMode{storage.VolumeLifecyclePersistent}
	}
}

func warnDriver(d, old *storage.CSIDriver) []string {
	s := d.Spec
	if len(s.TokenRequests) == 0 || s.ServiceAccountTokenInSecrets != nil ||
		old != nil && reflect.DeepEqual(old.Spec.TokenRequests, s.TokenRequests) {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible " +
		"logging of tokens in volume attributes"}
}

func driverRow(d *storage.CSIDriver, now time.Time) []any {
	s := d.Spec
	modes := make([]string, len(s.VolumeLifecycleModes))
	for i, m := range s.VolumeLifecycleModes {
		modes[i] = string(m)
	}
	tokens := "<unset>"
	if s.TokenRequests != nil {
		audiences := make([]string, len(s.TokenRequests))
		for i, t := range s.TokenRequests {
			audiences[i] = t.Audience
		}
		tokens = strings.Join(audiences, ",")
	}
	shown := strings.Join(modes, ",")
	if shown == "" {
		shown = "<none>"
	}
	return []any{
		d.Name, ptr.Deref(s.AttachRequired, true), ptr.Deref(s.PodInfoOnMount, false), ptr.Deref(s.StorageCapacity, false),
		tokens, ptr.Deref(s.RequiresRepublish, false), shown, kinds.Age(d.CreationTimestamp, now),
	}
}

// CSINode is storage.k8s.io/v1 CSINode: the drivers on one node.
var CSINode = kinds.Def[storage.CSINode, *storage.CSINode]{
	Path:      "storage.k8s.io/v1/csinodes",
	Versioned: true,
	Validate:  validateCSINode, ValidateUpdate: validateCSINodeUpdate,
	Cluster: true,
	Columns: kinds.Columns("Name", "Drivers:integer|Drivers indicates the number of CSI drivers registered on the node", "Age"),
	Row: func(n *storage.CSINode, now time.Time) []any {
		return []any{n.Name, int64(len(n.Spec.Drivers)), kinds.Age(n.CreationTimestamp, now)}
	},
}

// CSIStorageCapacity is storage.k8s.io/v1 CSIStorageCapacity: how much room there is for one class in one part of the cluster.
var CSIStorageCapacity = kinds.Def[storage.CSIStorageCapacity, *storage.CSIStorageCapacity]{
	Path:      "storage.k8s.io/v1/csistoragecapacities",
	Versioned: true,
	Validate:  validateCapacity, ValidateUpdate: validateCapacityUpdate,
	Columns: kinds.Columns("Name", "Created At:date|"+metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]),
	Row: func(c *storage.CSIStorageCapacity, _ time.Time) []any {
		return []any{c.Name, c.CreationTimestamp.UTC().Format(time.RFC3339)}
	},
}

// attachmentColumns has the attacher marked as a name, too: so it has always been.
func attachmentColumns() []kinds.Column {
	c := kinds.Columns("Name", "Attacher|"+storage.VolumeAttachmentSpec{}.SwaggerDoc()["attacher"],
		"PV|"+storage.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"],
		"Node|"+storage.VolumeAttachmentSpec{}.SwaggerDoc()["nodeName"],
		"Attached:boolean|"+storage.VolumeAttachmentStatus{}.SwaggerDoc()["attached"], "Age")
	c[1].Format = "name"
	return c
}

// VolumeAttachment is storage.k8s.io/v1 VolumeAttachment: a volume is to be attached to a node.
var VolumeAttachment = kinds.Def[storage.VolumeAttachment, *storage.VolumeAttachment]{
	Path:          "storage.k8s.io/v1/volumeattachments",
	Versioned:     true,
	Default:       defaultAttachment,
	PrepareStatus: func(a, old *storage.VolumeAttachment) { metav1.ResetObjectMetaForStatus(a, old) },
	Validate:      validateAttachment, ValidateUpdate: validateAttachmentUpdate, ValidateStatus: validateAttachmentStatus,
	Cluster: true,
	Status:  true,
	Columns: attachmentColumns(),
	Row: func(a *storage.VolumeAttachment, now time.Time) []any {
		return []any{
			a.Name, a.Spec.Attacher, ptr.Deref(a.Spec.Source.PersistentVolumeName, ""), a.Spec.NodeName, a.Status.Attached,
			kinds.Age(a.CreationTimestamp, now),
		}
	},
}

// defaultAttachment fills the volume that an attachment brings along.
func defaultAttachment(a *storage.VolumeAttachment) {
	if v := a.Spec.Source.InlineVolumeSpec; v != nil {
		resources.RoundUp(v.Capacity)
		volumes.DefaultPersistent(&v.PersistentVolumeSource)
	}
}
