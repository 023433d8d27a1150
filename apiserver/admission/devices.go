package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/object"
)

// deviceAccess guards what claims to devices may say: access of administrators only in namespaces that are labelled for it, the
// allocation only from who may bind claims, and the state of a device only from who speaks for its driver (KEP-5018, KEP-4817).
func (s *Start) deviceAccess(ctx context.Context, r *Request) error {
	if r.Kind.Group != resource.GroupName || r.Op != Create && r.Op != Update {
		return nil
	}
	var errs field.ErrorList
	switch o := r.Object.(type) {
	case *resource.ResourceClaim:
		if r.Op == Create {
			errs = s.adminRequests(o.Namespace, o.Spec.Devices.Requests)
		} else if r.Sub == "status" {
			errs = s.claimStatus(ctx, r, o, r.Old.(*resource.ResourceClaim))
		}
	case *resource.ResourceClaimTemplate:
		if r.Op == Create {
			errs = s.adminRequests(o.Namespace, o.Spec.Spec.Devices.Requests)
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), r.Object.GetName(), errs)
	}
	return nil
}

func (s *Start) adminRequests(namespace string, requests []resource.DeviceRequest) field.ErrorList {
	for i, q := range requests {
		if q.Exactly != nil && q.Exactly.AdminAccess != nil && *q.Exactly.AdminAccess {
			return s.adminNamespace(namespace, field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess"))
		}
	}
	return nil
}

func (s *Start) adminNamespace(namespace string, at *field.Path) field.ErrorList {
	ns, ok := client.Lookup[core.Namespace](s.view, object.Key{Name: namespace})
	if ok && ns.Labels[resource.DRAAdminNamespaceLabelKey] == "true" {
		return nil
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace",
		resource.DRAAdminNamespaceLabelKey))}
}

func adminResult(a *resource.AllocationResult) (*field.Path, bool) {
	if a == nil {
		return nil, false
	}
	for i, d := range a.Devices.Results {
		if d.AdminAccess != nil && *d.AdminAccess {
			return field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess"), true
		}
	}
	return nil, false
}

func (s *Start) claimStatus(ctx context.Context, r *Request, now, old *resource.ResourceClaim) (errs field.ErrorList) {
	if at, asked := adminResult(now.Status.Allocation); asked {
		if _, had := adminResult(old.Status.Allocation); !had {
			errs = append(errs, s.adminNamespace(now.Namespace, at)...)
		}
	}
	if slices.Contains(r.User.Groups, authn.Masters) {
		return errs
	}
	if !equality.Semantic.DeepEqual(now.Status.Allocation, old.Status.Allocation) || !equality.Semantic.DeepEqual(now.Status.ReservedFor, old.Status.ReservedFor) {
		if why, ok := s.mayClaim(ctx, r, "update", resource.SubresourceBinding, "", ""); !ok {
			errs = append(errs, field.Forbidden(field.NewPath("status", "allocation"), fmt.Sprintf(
				`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: %s`, why)))
		}
	}
	if now.Status.Allocation == nil {
		return errs
	}
	verbs := []string{resource.VerbPrefixArbitraryNode + "update"}
	if node := allocatedNode(now.Status.Allocation); node != "" && strings.HasPrefix(r.User.Name, "system:serviceaccount:") &&
		slices.Equal(r.User.Extra["authentication.kubernetes.io/node-name"], []string{node}) {
		verbs = []string{resource.VerbPrefixAssociatedNode + "update", verbs[0]}
	}
	for _, driver := range changedDrivers(now.Status.Devices, old.Status.Devices) {
		first := ""
		for _, verb := range verbs {
			why, ok := s.mayClaim(ctx, r, verb, resource.SubresourceDriver, now.Namespace, driver)
			if ok {
				first = ""
				break
			}
			if first == "" {
				first = why
			}
		}
		if first != "" {
			errs = append(errs, field.Forbidden(field.NewPath("status", "devices"),
				fmt.Sprintf(`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, first)))
		}
	}
	return errs
}

// mayClaim asks for a right on a subresource that exists for this question only.
func (s *Start) mayClaim(ctx context.Context, r *Request, verb, sub, namespace, name string) (why string, ok bool) {
	d, err := s.deps.Authz.Authorize(ctx, authz.Attributes{User: r.User, Verb: verb, Group: resource.GroupName, Version: "v1",
		Resource: "resourceclaims", Sub: sub, Namespace: namespace, Name: name, ResourceRequest: true})
	switch {
	case err != nil:
		return err.Error(), false
	case d.Allowed:
		return "", true
	case d.Reason == "":
		return "permission denied", false
	}
	return d.Reason, false
}

// allocatedNode is the one node at which an allocation can be used; "" if there may be others.
func allocatedNode(a *resource.AllocationResult) string {
	if a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	t := a.NodeSelector.NodeSelectorTerms[0]
	if len(t.MatchExpressions) > 0 || len(t.MatchFields) != 1 {
		return ""
	}
	f := t.MatchFields[0]
	if f.Key != "metadata.name" || f.Operator != core.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}

// changedDrivers are those whose devices' states differ, by name.
func changedDrivers(now, old []resource.AllocatedDeviceStatus) []string {
	type key struct{ driver, pool, device, share string }
	keyOf := func(d *resource.AllocatedDeviceStatus) key {
		k := key{driver: d.Driver, pool: d.Pool, device: d.Device}
		if d.ShareID != nil {
			k.share = *d.ShareID
		}
		return k
	}
	before := map[key]*resource.AllocatedDeviceStatus{}
	for i := range old {
		before[keyOf(&old[i])] = &old[i]
	}
	drivers := map[string]bool{}
	for i := range now {
		k := keyOf(&now[i])
		if was := before[k]; was == nil || !equality.Semantic.DeepEqual(*was, now[i]) {
			drivers[k.driver] = true
		}
		delete(before, k)
	}
	for k := range before {
		drivers[k.driver] = true
	}
	return slices.Sorted(maps.Keys(drivers))
}
