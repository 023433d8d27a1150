package rest

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"proa.dev/apiserver/owners"
	"proa.dev/kinds"
	"proa.dev/object"
)

// Field ownership (KEP-555): who owns which field is written down from the create on. Objects that were stored without that are not
// tracked until the first apply, which enters all that was there before as "before-first-apply".

// tracked writes the managed fields of o, which replaces old (nil: it is new).
func (a *API) tracked(ctx context.Context, s *Served, sub string, old, o object.Object, given string) {
	keep := func(err error) {
		a.log.Error("track field owners", "kind", s.Kind.Kind, "key", object.KeyOf(o), "err", err)
		var was []metav1.ManagedFieldsEntry
		if old != nil {
			was = old.GetManagedFields()
		}
		o.SetManagedFields(was)
	}
	if s.Kind.Custom != nil {
		m, err := a.mergers.of(s, sub)
		if err != nil {
			keep(err)
			return
		}
		live := s.Kind.New()
		live.GetObjectKind().SetGroupVersionKind(s.Kind.GVK())
		if old != nil {
			live = old.DeepCopyObject().(object.Object)
		}
		out := m.UpdateNoErrors(live, o, manager(ctx, given))
		if got, err := meta.Accessor(out); err == nil {
			o.SetManagedFields(got.GetManagedFields())
		}
		return
	}
	w := owners.Write{Old: old, New: o, APIVersion: s.GroupVersion().String(), Subresource: sub, Manager: manager(ctx, given),
		Filter: s.resets(sub), Now: a.now()}
	if len(s.Kind.Also) > 0 {
		w.Convert = func(o object.Object, version string) (object.Object, error) {
			gv, err := schema.ParseGroupVersion(version)
			if err != nil {
				return nil, err
			}
			return inVersion(s, o, gv)
		}
	}
	if err := served(s, &w); err != nil {
		keep(err)
		return
	}
	fields, err := a.owners.Update(w)
	if err != nil {
		keep(err)
		return
	}
	o.SetManagedFields(fields)
}

// served has w tell of objects in the version that s serves.
func served(s *Served, w *owners.Write) (err error) {
	if s.Also == nil {
		return nil
	}
	if w.New, err = inVersion(s, w.New, s.GroupVersion()); err != nil || w.Old == nil {
		return err
	}
	w.Old, err = inVersion(s, w.Old, s.GroupVersion())
	return err
}

// resets are the fields that a write to sub does not own, because it cannot change them.
func (s *Served) resets(sub string) owners.Filter {
	if f, ok := s.filters.Load(sub); ok {
		return f.(owners.Filter)
	}
	f := resets(s.Kind, sub)
	s.filters.Store(sub, f) // few: the request has a subresource that there is
	return f
}

func resets(k *kinds.Kind, sub string) owners.Filter {
	metadata, spec, status := []string{"metadata"}, []string{"spec"}, []string{"status"}
	switch sub {
	case "":
		switch {
		case k.Kind == "CertificateSigningRequest":
			return owners.Without(spec, status)
		case k.Status:
			return owners.Without(status)
		}
	case "status":
		switch {
		case k.Custom != nil:
			return owners.Without(metadata, spec)
		case k.Kind == "Deployment":
			return owners.Without(spec, []string{"metadata", "labels"})
		case k.Kind == "Pod":
			return owners.Without(spec, []string{"metadata", "deletionTimestamp"}, []string{"metadata", "ownerReferences"})
		case k.Kind == "CertificateSigningRequest":
			return owners.Without(spec, []string{"status", "conditions"})
		case slices.Contains(statusOnly[:], k.Kind):
			return owners.Without(metadata, spec)
		case k.Status:
			return owners.Without(spec)
		}
	case "approval":
		return owners.Without(spec, []string{"status", "certificate"})
	case "finalize":
		return owners.Without(status)
	}
	return owners.Filter{}
}

// statusOnly are the kinds whose metadata a write to the status cannot change either.
var statusOnly = [...]string{"APIService", "DeviceTaintRule", "FlowSchema", "PodCertificateRequest", "PodGroup", "PriorityLevelConfiguration", "ResourceClaim", "ResourcePoolStatusRequest",
	"ServiceCIDR", "StorageVersionMigration", "ValidatingAdmissionPolicy", "VolumeAttachment"}

// invalidFields is the warning about what admission has made of the managed fields.
const invalidFields = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: %v"

// fieldsBefore is the managed fields of o before admission, for keepFields. Those of custom objects are read when they are needed.
func fieldsBefore(o object.Object) []metav1.ManagedFieldsEntry {
	if _, tree := o.(*unstructured.Unstructured); tree {
		return nil
	}
	return o.GetManagedFields()
}

// keepFields gives o, which was another one before admission, the managed fields that it had, if those that it has now are none.
func keepFields(ctx context.Context, was, o object.Object, had []metav1.ManagedFieldsEntry) {
	if _, tree := o.(*unstructured.Unstructured); tree {
		if o == was {
			return
		}
		had = was.GetManagedFields()
	}
	has := o.GetManagedFields()
	if len(has) == len(had) && (len(has) == 0 || &has[0] == &had[0]) {
		return
	}
	if err := managedfields.ValidateManagedFields(has); err != nil {
		o.SetManagedFields(had)
		Warn(ctx, fmt.Sprintf(invalidFields, err))
	}
}

// sameTimes gives o the times of old's managed fields if nothing else is different: a write that changes no more than the times is none.
func sameTimes(o, old object.Object) error {
	was, is := old.GetManagedFields(), o.GetManagedFields()
	if len(was) != len(is) || len(is) == 0 {
		return nil
	}
	differ := false
	for i := range is {
		a, b := &was[i], &is[i]
		if a.Manager != b.Manager || a.Operation != b.Operation || a.APIVersion != b.APIVersion || a.Subresource != b.Subresource ||
			a.FieldsType != b.FieldsType || a.FieldsV1.GetRawString() != b.FieldsV1.GetRawString() {
			return nil
		}
		differ = differ || !a.Time.Equal(b.Time)
	}
	if !differ {
		return nil
	}
	o.SetManagedFields(was)
	same, err := equal(o, old)
	if err == nil && !same {
		o.SetManagedFields(is)
	}
	return err
}

type managerKey struct{}

// WithManager is ctx with the name of the client, for requests that name no field manager.
func WithManager(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, managerKey{}, name)
}

func manager(ctx context.Context, given string) string {
	if given != "" {
		return given
	}
	if name, ok := ctx.Value(managerKey{}).(string); ok && name != "" {
		return name
	}
	return "unknown"
}
