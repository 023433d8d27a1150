package namespace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// content is the objects of one resource in a namespace.
type content struct {
	resource client.Resource
	objects  []object.Object
}

// recheck is how soon a namespace is looked at again in which only finalizers hold something: they are removed by who knows whom.
const recheck = 2 * time.Second

// found is what is in a namespace.
type found struct {
	all     []content             // what is not empty
	unknown []schema.GroupVersion // where nobody can look now
}

// plan says what to do next with a namespace that is being deleted. failed is what went wrong before.
func plan(ns *core.Namespace, in found, failed error, now time.Time) ([]control.Change, control.Again) {
	all := in.all
	if ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, core.FinalizerKubernetes) {
		return nil, control.Done
	}
	if len(all)+len(in.unknown) == 0 {
		n := object.Clone(ns)
		n.Spec.Finalizers = slices.DeleteFunc(n.Spec.Finalizers, func(f core.FinalizerName) bool { return f == core.FinalizerKubernetes })
		return []control.Change{{Op: control.Update, Sub: "finalize", Object: n}}, control.Done
	}
	stage, again := all, control.Again(recheck)
	if i := slices.IndexFunc(all, isPods); i >= 0 {
		stage = all[i : i+1] // the end of each pod wakes us
	}
	var changes []control.Change
	for _, c := range stage {
		for _, o := range c.objects {
			if o.GetDeletionTimestamp() == nil {
				changes = append(changes, control.Change{
					Op: control.Delete, Object: o, Resource: c.resource, Propagation: new(metav1.DeletePropagationBackground),
				})
			}
		}
	}
	if len(changes) > 0 && failed == nil {
		return changes, control.Again(time.Millisecond) // see what is left before saying anything
	}
	st := conditions(ns, in, failed, now)
	if st != nil {
		n := object.Clone(ns)
		n.Status = *st
		changes = append([]control.Change{{Op: control.Status, Object: n}}, changes...)
	}
	return changes, again
}

func isPods(c content) bool { return c.resource.Group == "" && c.resource.Resource == "pods" }

// conditions is the status that tells of what is left, or nil where it does so already.
func conditions(ns *core.Namespace, in found, failed error, now time.Time) *core.NamespaceStatus {
	st := ns.Status.DeepCopy()
	changed := st.Phase != core.NamespaceTerminating
	st.Phase = core.NamespaceTerminating
	for _, c := range []core.NamespaceCondition{
		discovery(in.unknown),
		{Type: core.NamespaceDeletionGVParsingFailure, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
		contentFailure(failed), remaining(in.all), finalizers(in.all),
	} {
		if c.Status == "" {
			c.Status = core.ConditionFalse
		}
		changed = set(st, c, now) || changed
	}
	if !changed {
		return nil
	}
	return st
}

func set(st *core.NamespaceStatus, c core.NamespaceCondition, now time.Time) bool {
	c.LastTransitionTime = metav1.NewTime(now)
	for i, have := range st.Conditions {
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		if have.Status == c.Status && have.Reason == c.Reason && have.Message == c.Message {
			return false
		}
		st.Conditions[i] = c
		return true
	}
	st.Conditions = append(st.Conditions, c)
	return true
}

func discovery(unknown []schema.GroupVersion) core.NamespaceCondition {
	if len(unknown) == 0 {
		return core.NamespaceCondition{Type: core.NamespaceDeletionDiscoveryFailure, Reason: "ResourcesDiscovered",
			Message: "All resources successfully discovered"}
	}
	var parts []string
	for _, gv := range unknown {
		parts = append(parts, fmt.Sprintf("%s: stale GroupVersion discovery: %s", gv, gv))
	}
	return core.NamespaceCondition{Type: core.NamespaceDeletionDiscoveryFailure, Status: core.ConditionTrue, Reason: "DiscoveryFailed",
		Message: fmt.Sprintf("Discovery failed for some groups, %d failing: unable to retrieve the complete list of server APIs: %s",
			len(parts), strings.Join(parts, ", "))}
}

func contentFailure(err error) core.NamespaceCondition {
	if err == nil {
		return core.NamespaceCondition{Type: core.NamespaceDeletionContentFailure, Reason: "ContentDeleted",
			Message: "All content successfully deleted, may be waiting on finalization"}
	}
	msgs := strings.Split(err.Error(), "\n")
	return core.NamespaceCondition{Type: core.NamespaceDeletionContentFailure, Status: core.ConditionTrue, Reason: "ContentDeletionFailed",
		Message: fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(msgs), strings.Join(msgs, ", "))}
}

func remaining(all []content) core.NamespaceCondition {
	if len(all) == 0 {
		return core.NamespaceCondition{Type: core.NamespaceContentRemaining, Reason: "ContentRemoved", Message: "All content successfully removed"}
	}
	var parts []string
	for _, c := range all {
		parts = append(parts, fmt.Sprintf("%s.%s has %d resource instances", c.resource.Resource, c.resource.Group, len(c.objects)))
	}
	slices.Sort(parts)
	return core.NamespaceCondition{Type: core.NamespaceContentRemaining, Status: core.ConditionTrue, Reason: "SomeResourcesRemain",
		Message: "Some resources are remaining: " + strings.Join(parts, ", ")}
}

func finalizers(all []content) core.NamespaceCondition {
	count := map[string]int{}
	for _, c := range all {
		for _, o := range c.objects {
			for _, f := range o.GetFinalizers() {
				count[f]++
			}
		}
	}
	if len(count) == 0 {
		return core.NamespaceCondition{Type: core.NamespaceFinalizersRemaining, Reason: "ContentHasNoFinalizers",
			Message: "All content-preserving finalizers finished"}
	}
	var parts []string
	for _, f := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%s in %d resource instances", f, count[f]))
	}
	return core.NamespaceCondition{Type: core.NamespaceFinalizersRemaining, Status: core.ConditionTrue, Reason: "SomeFinalizersRemain",
		Message: "Some content in the namespace has finalizers remaining: " + strings.Join(parts, ", ")}
}
