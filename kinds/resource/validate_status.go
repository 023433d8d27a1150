package resource

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
	resource "k8s.io/api/resource/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

// deviceID names a device, or the share of one.
type deviceID struct{ Driver, Pool, Device, ShareID string }

func idOf(d *resource.AllocatedDeviceStatus) deviceID {
	id := deviceID{Driver: d.Driver, Pool: d.Pool, Device: d.Device}
	if d.ShareID != nil {
		id.ShareID = *d.ShareID
	}
	return id
}

func allocated(a *resource.AllocationResult) map[deviceID]bool {
	out := map[deviceID]bool{}
	if a == nil {
		return out
	}
	for _, r := range a.Devices.Results {
		id := deviceID{Driver: r.Driver, Pool: r.Pool, Device: r.Device}
		if r.ShareID != nil {
			id.ShareID = string(*r.ShareID)
		}
		out[id] = true
	}
	return out
}

// validateStatus lets an allocation stand that was there before: it never changes.
func validateStatus(c, old *resource.ResourceClaim) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s, was, p := &c.Status, &old.Status, field.NewPath("status")
		set(e, p.Child("reservedFor"), s.ReservedFor, resource.ResourceClaimReservedForMaxSize,
			func(r *resource.ResourceClaimConsumerReference) types.UID { return r.UID },
			func(p *field.Path, r *resource.ResourceClaimConsumerReference) {
				for _, f := range [][2]string{{"resource", r.Resource}, {"name", r.Name}, {"uid", string(r.UID)}} {
					if f[1] == "" {
						e.Required(p.Child(f[0]), "")
					}
				}
			})
		has := allocated(s.Allocation)
		set(e, p.Child("devices"), s.Devices, -1, idOf, func(p *field.Path, d *resource.AllocatedDeviceStatus) { deviceStatus(e, p, d, has) })
		reserved := p.Child("reservedFor")
		if len(s.ReservedFor) > 0 && s.Allocation == nil {
			e.Forbidden(reserved, "may not be specified when `allocated` is not set")
		} else if c.DeletionTimestamp != nil {
			before := map[resource.ResourceClaimConsumerReference]bool{}
			for _, r := range was.ReservedFor {
				before[r] = true
			}
			for _, r := range s.ReservedFor {
				if !before[r] {
					e.Forbidden(reserved, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
					break
				}
			}
		}
		switch {
		case s.Allocation == nil:
		case was.Allocation != nil:
			e.Immutable(p.Child("allocation"), s.Allocation, was.Allocation)
		default:
			allocation(e, p.Child("allocation"), s.Allocation, requestsOf(&c.Spec.Devices))
		}
	})
}

func allocation(e *check.Errors, p *field.Path, a *resource.AllocationResult, all requests) {
	d := p.Child("devices")
	list(e, d.Child("results"), a.Devices.Results, resource.AllocationResultsMaxSize, func(p *field.Path, r *resource.DeviceRequestAllocationResult) {
		all.reference(e, p.Child("request"), r.Request)
		core.CSIDriverName(e, p.Child("driver"), r.Driver)
		poolName(e, p.Child("pool"), r.Pool)
		e.Label(p.Child("device"), r.Device)
		conditions(e, p, r.BindingConditions, r.BindingFailureConditions)
		if r.ShareID != nil {
			uid(e, p.Child("shareID"), string(*r.ShareID))
		}
	})
	list(e, d.Child("config"), a.Devices.Config, 2*resource.DeviceConfigMaxSize, func(p *field.Path, c *resource.DeviceAllocationConfiguration) {
		check.OneOfRequired(e, p.Child("source"), c.Source, resource.AllocationConfigSourceClaim, resource.AllocationConfigSourceClass)
		all.names(e, p.Child("requests"), c.Requests)
		configuration(e, p, &c.DeviceConfiguration, false)
	})
	if a.NodeSelector != nil {
		core.NodeSelector(e, p.Child("nodeSelector"), a.NodeSelector)
	}
}

func uid(e *check.Errors, p *field.Path, s string) {
	if err := uuid.Validate(s); err != nil {
		e.Invalid(p, s, fmt.Sprintf("error validating uid: %v", err))
	} else if len(s) != 36 || s != strings.ToLower(s) {
		e.Invalid(p, s, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")
	}
}

func deviceStatus(e *check.Errors, p *field.Path, d *resource.AllocatedDeviceStatus, has map[deviceID]bool) {
	core.CSIDriverName(e, p.Child("driver"), d.Driver)
	poolName(e, p.Child("pool"), d.Pool)
	e.Label(p.Child("device"), d.Device)
	if d.ShareID != nil {
		uid(e, p.Child("shareID"), *d.ShareID)
	}
	if id := idOf(d); !has[id] {
		e.Invalid(p, id, "must be an allocated device in the claim")
	}
	if len(d.Conditions) > resource.AllocatedDeviceStatusMaxConditions {
		e.Add(field.TooMany(p.Child("conditions"), len(d.Conditions), resource.AllocatedDeviceStatusMaxConditions))
	}
	e.Add(metavalidation.ValidateConditions(d.Conditions, p.Child("conditions"))...)
	if d.Data != nil && len(d.Data.Raw) > 0 {
		rawObject(e, p.Child("data"), *d.Data, resource.AllocatedDeviceStatusDataMaxLength)
	}
	n := d.NetworkData
	if n == nil {
		return
	}
	p = p.Child("networkData")
	if len(n.InterfaceName) > resource.NetworkDeviceDataInterfaceNameMaxLength {
		e.Add(field.TooLong(p.Child("interfaceName"), "", resource.NetworkDeviceDataInterfaceNameMaxLength))
	}
	if len(n.HardwareAddress) > resource.NetworkDeviceDataHardwareAddressMaxLength {
		e.Add(field.TooLong(p.Child("hardwareAddress"), "", resource.NetworkDeviceDataHardwareAddressMaxLength))
	}
	set(e, p.Child("ips"), n.IPs, resource.NetworkDeviceDataMaxIPs, itself, func(p *field.Path, ip *string) {
		e.Add(utilvalidation.IsValidInterfaceAddress(p, *ip)...)
	})
}
