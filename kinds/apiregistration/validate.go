package apiregistration

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
)

func validateService(s *registration.APIService) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		validateName(e, s)
		p := field.NewPath("spec")
		if s.Spec.Group == "" && s.Spec.Version != "v1" {
			e.Required(p.Child("group"), "only v1 may have an empty group and it better be legacy kube")
		}
		if s.Spec.Group != "" {
			e.Subdomain(p.Child("group"), s.Spec.Group)
		}
		e.Invalids(p.Child("version"), s.Spec.Version, validation.IsDNS1035Label(s.Spec.Version))
		if n := s.Spec.GroupPriorityMinimum; n <= 0 || n > 20000 {
			e.Invalid(p.Child("groupPriorityMinimum"), n, "must be positive and less than 20000")
		}
		if n := s.Spec.VersionPriority; n <= 0 || n > 1000 {
			e.Invalid(p.Child("versionPriority"), n, "must be positive and less than 1000")
		}
		if s.Spec.Service == nil {
			validateLocal(e, p, &s.Spec)
			return
		}
		at := p.Child("service")
		if s.Spec.Service.Namespace == "" {
			e.Required(at.Child("namespace"), "")
		}
		if s.Spec.Service.Name == "" {
			e.Required(at.Child("name"), "")
		}
		port := ptr.Deref(s.Spec.Service.Port, 0)
		if bad := validation.IsValidPortNum(int(port)); bad != nil {
			e.Invalid(at.Child("port"), port, "port is not valid: "+strings.Join(bad, ", "))
		}
		if s.Spec.InsecureSkipTLSVerify && len(s.Spec.CABundle) > 0 {
			e.Invalid(p.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present")
		}
	})
}

// validateName wants the name that says what the object is about. A missing name is found for every kind already.
func validateName(e *check.Errors, s *registration.APIService) {
	if s.Name == "" || len(path.IsValidPathSegmentName(s.Name)) > 0 {
		return
	}
	if want := s.Spec.Version + "." + s.Spec.Group; s.Name != want {
		e.Invalid(field.NewPath("metadata", "name"), s.Name, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", want))
	}
}

// validateLocal refuses what makes no sense without a service.
func validateLocal(e *check.Errors, p *field.Path, s *registration.APIServiceSpec) {
	if n := len(s.CABundle); n > 0 {
		e.Invalid(p.Child("caBundle"), fmt.Sprintf("%d bytes", n), "local APIServices may not have a caBundle")
	}
	if s.InsecureSkipTLSVerify {
		e.Invalid(p.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify")
	}
}

func validateStatus(s, _ *registration.APIService) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		for i, c := range s.Status.Conditions {
			check.OneOf(e, field.NewPath("status", "conditions").Index(i).Child("status"), c.Status,
				registration.ConditionTrue, registration.ConditionFalse, registration.ConditionUnknown)
		}
	})
}
