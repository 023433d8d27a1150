package networking

import (
	"strings"
	"time"

	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// IPAddress is networking.k8s.io/v1 IPAddress: one address of the cluster's service ranges is in use, and by whom. Its name is the
// address.
var IPAddress = kinds.Def[networking.IPAddress, *networking.IPAddress]{
	Path:    "networking.k8s.io/v1/ipaddresses",
	Cluster: true,
	Short:   []string{"ip"},
	Name: func(name string, _ bool) (out []string) {
		for _, e := range utilvalidation.IsValidIP(nil, name) {
			out = append(out, e.Detail)
		}
		return out
	},
	Validate: validateAddress,
	ValidateUpdate: func(a, old *networking.IPAddress) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			e.Immutable(field.NewPath("spec", "parentRef"), a.Spec.ParentRef, old.Spec.ParentRef)
		})
	},
	// The age stands in the row and has no column: so Kubernetes does it.
	Columns: kinds.Columns("Name", "ParentRef|"+networking.IPAddressSpec{}.SwaggerDoc()["parentRef"]),
	Row: func(a *networking.IPAddress, now time.Time) []any {
		parent := "<none>"
		if r := a.Spec.ParentRef; r != nil {
			parent = strings.ToLower(schema.GroupResource{Group: r.Group, Resource: r.Resource}.String())
			if r.Namespace != "" {
				parent += "/" + r.Namespace
			}
			parent += "/" + r.Name
		}
		return []any{a.Name, parent, kinds.Age(a.CreationTimestamp, now)}
	},
}

func validateAddress(a *networking.IPAddress) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		r, p := a.Spec.ParentRef, field.NewPath("spec", "parentRef")
		if r == nil {
			e.Required(p, "")
			return
		}
		if r.Group != "" {
			e.Subdomain(p.Child("group"), r.Group)
		}
		for _, f := range [][2]string{{"resource", r.Resource}, {"name", r.Name}} {
			if f[1] == "" {
				e.Required(p.Child(f[0]), "")
			} else {
				e.Invalids(p.Child(f[0]), f[1], path.IsValidPathSegmentName(f[1]))
			}
		}
		if r.Namespace != "" {
			e.Invalids(p.Child("namespace"), r.Namespace, path.IsValidPathSegmentName(r.Namespace))
		}
	})
}
