package networking

import (
	"strings"
	"time"

	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// ServiceCIDR is networking.k8s.io/v1 ServiceCIDR: a range, or one of each family, of which services get their addresses.
var ServiceCIDR = kinds.Def[networking.ServiceCIDR, *networking.ServiceCIDR]{
	Path:    "networking.k8s.io/v1/servicecidrs",
	Cluster: true,
	Status:  true,
	ValidateCreate: func(s *networking.ServiceCIDR) field.ErrorList {
		return check.Run(func(e *check.Errors) { ranges(e, &s.Spec) })
	},
	ValidateUpdate: validateRangesUpdate,
	PrepareStatus:  func(s, old *networking.ServiceCIDR) { metav1.ResetObjectMetaForStatus(s, old) },
	Columns:        kinds.Columns("Name", "CIDRs|"+networking.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"], "Age"),
	Row: func(s *networking.ServiceCIDR, now time.Time) []any {
		return []any{s.Name, strings.Join(s.Spec.CIDRs, ","), kinds.Age(s.CreationTimestamp, now)}
	},
}

func ranges(e *check.Errors, s *networking.ServiceCIDRSpec) {
	p := field.NewPath("spec", "cidrs")
	switch {
	case len(s.CIDRs) == 0:
		e.Required(p, "at least one CIDR required")
		return
	case len(s.CIDRs) > 2:
		e.Invalid(p, s, "may only hold up to 2 values")
		return
	}
	for i, r := range s.CIDRs {
		e.Add(utilvalidation.IsValidCIDR(p.Index(i), r)...)
	}
	if len(s.CIDRs) == 2 {
		a, b := netutils.IPFamilyOfCIDRString(s.CIDRs[0]), netutils.IPFamilyOfCIDRString(s.CIDRs[1])
		if a == b && a != netutils.IPFamilyUnknown {
			e.Invalid(p, s.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
		}
	}
}

func validateRangesUpdate(s, old *networking.ServiceCIDR) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("spec", "cidrs")
		now, was := s.Spec.CIDRs, old.Spec.CIDRs
		switch {
		case len(now) == len(was):
			for i := range was {
				if now[i] != was[i] {
					e.Invalid(p.Index(i), now[i], validation.FieldImmutableErrorMsg)
				}
			}
		case len(was) == 1 && len(now) == 2: // the second family comes later
			if now[0] != was[0] {
				e.Invalid(p.Index(0), now[0], validation.FieldImmutableErrorMsg)
			}
			ranges(e, &s.Spec)
		default:
			e.Invalid(p, now, validation.FieldImmutableErrorMsg)
		}
	})
}
