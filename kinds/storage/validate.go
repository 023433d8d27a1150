package storage

import (
	"fmt"
	"math"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

// Limits of what drivers are told and what they tell.
const (
	maxParameters = 512
	maxMetadata   = 256 << 10
	maxMessage    = 1024
	maxNodeID     = 256
	minToken      = 10 * 60 // seconds
)

func validateStorageClass(c *storage.StorageClass) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if p := field.NewPath("provisioner"); c.Provisioner == "" {
			e.Required(p, "")
		} else {
			e.QualifiedName(p, strings.ToLower(c.Provisioner))
		}
		parameters(e, field.NewPath("parameters"), c.Parameters)
		if r := c.ReclaimPolicy; r != nil && *r != "" {
			check.OneOf(e, field.NewPath("reclaimPolicy"), *r, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
		}
		if m := c.VolumeBindingMode; m == nil {
			e.Required(field.NewPath("volumeBindingMode"), "")
		} else {
			check.OneOf(e, field.NewPath("volumeBindingMode"), *m, storage.VolumeBindingImmediate, storage.VolumeBindingWaitForFirstConsumer)
		}
		topologies(e, field.NewPath("allowedTopologies"), c.AllowedTopologies)
	})
}

func parameters(e *check.Errors, p *field.Path, m map[string]string) {
	if len(m) > maxParameters {
		e.Add(field.TooLong(p, "", maxParameters))
		return
	}
	if _, ok := m[""]; ok {
		e.Invalid(p, "", "field can not be empty.")
	}
	if sizeOf(m) > maxMetadata {
		e.Add(field.TooLong(p, "", maxMetadata))
	}
}

func sizeOf(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

func topologies(e *check.Errors, p *field.Path, terms []corev1.TopologySelectorTerm) {
	var before []map[string]map[string]bool
	for i, t := range terms {
		all := map[string]map[string]bool{}
		keys := map[string]bool{}
		for j, r := range t.MatchLabelExpressions {
			at := p.Index(i).Child("matchLabelExpressions").Index(j)
			if len(r.Values) == 0 {
				e.Required(at.Child("values"), "")
			}
			values := map[string]bool{}
			for n, v := range r.Values {
				if values[v] {
					e.Duplicate(at.Child("values").Index(n), v)
				}
				values[v] = true
			}
			e.LabelName(at.Child("key"), r.Key)
			if keys[r.Key] {
				e.Duplicate(at.Child("key"), r.Key)
			}
			keys[r.Key] = true
			all[r.Key] = values
		}
		for range terms { // Kubernetes compares with as many empty terms as there are
			if len(all) == 0 {
				e.Duplicate(p.Index(i).Child("matchLabelExpressions"), "")
			}
		}
		for _, b := range before {
			if reflect.DeepEqual(all, b) {
				e.Duplicate(p.Index(i).Child("matchLabelExpressions"), "")
			}
		}
		before = append(before, all)
	}
}

func validateStorageClassUpdate(c, old *storage.StorageClass) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		e.Immutable(field.NewPath("parameters"), c.Parameters, old.Parameters)
		e.Immutable(field.NewPath("provisioner"), c.Provisioner, old.Provisioner)
		e.Immutable(field.NewPath("reclaimPolicy"), c.ReclaimPolicy, old.ReclaimPolicy)
		e.Immutable(field.NewPath("volumeBindingMode"), c.VolumeBindingMode, old.VolumeBindingMode)
	})
}

func validateDriver(d *storage.CSIDriver) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s, p := &d.Spec, field.NewPath("spec")
		for _, b := range []struct {
			name string
			set  bool
		}{
			{"attachedRequired", s.AttachRequired != nil}, {"podInfoOnMount", s.PodInfoOnMount != nil},
			{"storageCapacity", s.StorageCapacity != nil}, {"seLinuxMount", s.SELinuxMount != nil},
		} {
			if !b.set {
				e.Required(p.Child(b.name), "")
			}
		}
		if v := s.FSGroupPolicy; v != nil {
			check.OneOf(e, p.Child("fsGroupPolicy"), *v,
				storage.FileFSGroupPolicy, storage.NoneFSGroupPolicy, storage.ReadWriteOnceWithFSTypeFSGroupPolicy)
		}
		tokenRequests(e, p.Child("tokenRequests"), s.TokenRequests)
		for _, m := range s.VolumeLifecycleModes {
			check.OneOf(e, p.Child("volumeLifecycleModes"), m, storage.VolumeLifecyclePersistent, storage.VolumeLifecycleEphemeral)
		}
		if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < 10 {
			e.Invalid(p.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds")
		}
		if s.ServiceAccountTokenInSecrets != nil && len(s.TokenRequests) == 0 {
			e.Invalid(p.Child("serviceAccountTokenInSecrets"), s.ServiceAccountTokenInSecrets,
				"serviceAccountTokenInSecrets is set but no tokenRequests are specified")
		}
	})
}

func tokenRequests(e *check.Errors, p *field.Path, list []storage.TokenRequest) {
	seen := map[string]bool{}
	for i, t := range list {
		at := p.Index(i)
		if seen[t.Audience] {
			e.Duplicate(at.Child("audience"), t.Audience)
			continue
		}
		seen[t.Audience] = true
		switch s := t.ExpirationSeconds; {
		case s == nil:
		case *s < minToken:
			e.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration less than 10 minutes")
		case *s > 1<<32:
			e.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration larger than 2^32 seconds")
		}
	}
}

func validateDriverUpdate(d, old *storage.CSIDriver) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		e.Immutable(field.NewPath("spec", "attachedRequired"), d.Spec.AttachRequired, old.Spec.AttachRequired)
		e.Immutable(field.NewPath("spec", "volumeLifecycleModes"), d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes)
	})
}

func validateCSINode(n *storage.CSINode) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		names := map[string]bool{}
		for i, d := range n.Spec.Drivers {
			p := field.NewPath("spec", "drivers").Index(i)
			core.CSIDriverName(e, p.Child("name"), d.Name)
			if d.NodeID == "" {
				e.Required(p.Child("nodeID"), "")
			}
			if len(d.NodeID) > maxNodeID {
				e.Invalid(p.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", maxNodeID))
			}
			if d.Allocatable != nil {
				check.NonNegativePtr(e, p.Child("allocatable", "count"), d.Allocatable.Count)
			}
			if names[d.Name] {
				e.Duplicate(p.Child("name"), d.Name)
			}
			names[d.Name] = true
			keys := map[string]bool{}
			for _, k := range d.TopologyKeys {
				if k == "" {
					e.Required(p, "")
				}
				if keys[k] {
					e.Duplicate(p, k)
				}
				keys[k] = true
				e.QualifiedName(p, k)
			}
		}
	})
}

func validateCSINodeUpdate(n, old *storage.CSINode) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		for _, was := range old.Spec.Drivers {
			for _, now := range n.Spec.Drivers {
				if now.Name == was.Name {
					now.Allocatable, was.Allocatable = nil, nil // the only thing that a driver may change
					e.Immutable(field.NewPath("spec", "drivers"), now, was)
				}
			}
		}
	})
}

func validateCapacity(c *storage.CSIStorageCapacity) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		e.Selector(field.NewPath("nodeTopology"), c.NodeTopology)
		e.Subdomain(field.NewPath("storageClassName"), c.StorageClassName)
		if c.Capacity != nil {
			e.NonNegativeQuantity(field.NewPath("capacity"), *c.Capacity)
		}
	})
}

func validateCapacityUpdate(c, old *storage.CSIStorageCapacity) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		e.Immutable(field.NewPath("nodeTopology"), c.NodeTopology, old.NodeTopology)
		e.Immutable(field.NewPath("storageClassName"), c.StorageClassName, old.StorageClassName)
	})
}

func validateAttachment(a *storage.VolumeAttachment) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("spec")
		core.CSIDriverName(e, p.Child("attacher"), a.Spec.Attacher)
		inline, name := a.Spec.Source.InlineVolumeSpec, a.Spec.Source.PersistentVolumeName
		const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
		switch {
		case inline == nil && name == nil:
			e.Required(p.Child("source"), one)
		case inline != nil && name != nil:
			e.Forbidden(p.Child("source"), one)
		case name != nil && *name == "":
			e.Required(p.Child("source", "persistentVolumeName"), "must specify non empty persistentVolumeName")
		case name == nil:
			core.ValidateInlineVolume(e, p.Child("source", "inlineVolumeSpec"), inline)
		}
		e.Subdomain(p.Child("nodeName"), a.Spec.NodeName)
		if name != nil {
			e.Subdomain(field.NewPath("spec.source.persistentVolumeName"), *name)
		}
	})
}

func validateAttachmentUpdate(a, old *storage.VolumeAttachment) field.ErrorList {
	return check.Run(func(e *check.Errors) { e.Immutable(field.NewPath("spec"), a.Spec, old.Spec) })
}

func validateAttachmentStatus(a, _ *storage.VolumeAttachment) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("status")
		if sizeOf(a.Status.AttachmentMetadata) > maxMetadata {
			e.Add(field.TooLong(p.Child("attachmentMetadata"), "", maxMetadata))
		}
		volumeError(e, p.Child("attachError"), a.Status.AttachError)
		volumeError(e, p.Child("detachError"), a.Status.DetachError)
	})
}

func volumeError(e *check.Errors, p *field.Path, v *storage.VolumeError) {
	if v == nil {
		return
	}
	if len(v.Message) > maxMessage {
		e.Add(field.TooLong(p.Child("message"), "", maxMetadata)) // so Kubernetes says it
	}
	if v.ErrorCode != nil && *v.ErrorCode < 0 {
		e.Invalid(p.Child("errorCode"), *v.ErrorCode, utilvalidation.InclusiveRangeError(0, math.MaxInt32))
	}
}
