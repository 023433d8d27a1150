package core

import (
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// NamesAndImages are the names of containers and their images, each joined by commas, for tables.
func NamesAndImages(list []core.Container) (names, images string) {
	n, i := make([]string, len(list)), make([]string, len(list))
	for x, c := range list {
		n[x], i[x] = c.Name, c.Image
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// isSubdomain says what is wrong with a DNS subdomain.
func isSubdomain(s string) []string { return validation.NameIsDNSSubdomain(s, false) }

// OnlyLabelsAndAnnotations forbids the rest of the metadata of a template.
func OnlyLabelsAndAnnotations(e *check.Errors, p *field.Path, m metav1.ObjectMeta) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"name", m.Name != ""}, {"generateName", m.GenerateName != ""}, {"namespace", m.Namespace != ""}, {"selfLink", m.SelfLink != ""},
		{"uID", m.UID != ""}, {"resourceVersion", m.ResourceVersion != ""}, {"generation", m.Generation != 0},
		{"creationTimestamp", m.CreationTimestamp != metav1.Time{}}, {"deletionTimestamp", m.DeletionTimestamp != nil},
		{"deletionGracePeriodSeconds", m.DeletionGracePeriodSeconds != nil}, {"ownerReferences", m.OwnerReferences != nil},
		{"finalizers", m.Finalizers != nil}, {"managedFields", m.ManagedFields != nil},
	} {
		if f.set {
			e.Forbidden(p.Child(f.name), "cannot be set")
		}
	}
}
