package admission

import (
	"context"
	"errors"

	core "k8s.io/api/core/v1"
	scheduling "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// The classes of the system, and the highest priority that others may have.
const (
	nodeCritical    = "system-node-critical"
	clusterCritical = "system-cluster-critical"
	highestUser     = int32(1000000000)
)

// priority fills in a new pod's priority and preemption policy from its class, or from the default class. An update that leaves them out
// keeps them.
func (s *Start) priority(_ context.Context, r *Request) error {
	if r.Op != Create && r.Op != Update || !r.Is("", "pods") {
		return nil
	}
	spec := &r.Object.(*core.Pod).Spec
	if old, ok := r.Old.(*core.Pod); ok {
		if spec.Priority == nil && old.Spec.Priority != nil {
			spec.Priority = new(*old.Spec.Priority)
		}
		if spec.PreemptionPolicy == nil && old.Spec.PreemptionPolicy != nil {
			spec.PreemptionPolicy = new(*old.Spec.PreemptionPolicy)
		}
		return nil
	}
	value, policy := int32(0), core.PreemptLowerPriority
	switch class, ok := s.classOf(spec); {
	case ok:
		spec.PriorityClassName, value = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	case spec.PriorityClassName != "":
		return r.Forbid("no PriorityClass with name %v was found", spec.PriorityClassName)
	}
	if spec.Priority != nil && *spec.Priority != value {
		return r.Forbid("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *spec.Priority, value)
	}
	if spec.PreemptionPolicy != nil && *spec.PreemptionPolicy != policy {
		return r.Forbid("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *spec.PreemptionPolicy, policy)
	}
	spec.Priority, spec.PreemptionPolicy = &value, &policy
	return nil
}

// classOf is the class that a pod names, or the default class if it names none.
func (s *Start) classOf(spec *core.PodSpec) (*scheduling.PriorityClass, bool) {
	if spec.PriorityClassName != "" {
		return client.Lookup[scheduling.PriorityClass](s.view, object.Key{Name: spec.PriorityClassName})
	}
	var found *scheduling.PriorityClass
	for _, c := range client.ListOf[scheduling.PriorityClass](s.view, client.Select{}) {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found, found != nil
}

// oneDefault refuses a second default class, and to delete those of the system.
func (s *Start) oneDefault(_ context.Context, r *Request) error {
	if !r.Is(scheduling.GroupName, "priorityclasses") {
		return nil
	}
	if r.Op == Delete && (r.Key.Name == nodeCritical || r.Key.Name == clusterCritical) {
		return r.Forbid("this is a system priority class and cannot be deleted")
	}
	class, ok := r.Object.(*scheduling.PriorityClass)
	if !ok || r.Op == Delete || !class.GlobalDefault {
		return nil
	}
	if have, ok := s.classOf(&core.PodSpec{}); ok && (r.Op == Create || have.Name != class.Name) {
		return r.Forbid("PriorityClass %v is already marked as default. Only one default can exist", have.Name)
	}
	return nil
}

// priorityClasses makes the classes of the system.
func priorityClasses(ctx context.Context, c client.Client, view client.View) error {
	if !carries(view, object.ResourceOf[scheduling.PriorityClass]()) {
		return nil
	}
	lower := core.PreemptLowerPriority
	var errs []error
	for _, p := range []*scheduling.PriorityClass{
		{ObjectMeta: metav1.ObjectMeta{Name: nodeCritical}, Value: 2*highestUser + 1000, PreemptionPolicy: &lower,
			Description: "Used for system critical pods that must not be moved from their current node."},
		{ObjectMeta: metav1.ObjectMeta{Name: clusterCritical}, Value: 2 * highestUser, PreemptionPolicy: &lower,
			Description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."},
	} {
		errs = append(errs, ensure(ctx, c, p))
	}
	return errors.Join(errs...)
}

// carries says whether the view has a resource: kinds that are not served need nothing.
func carries(view client.View, r client.Resource) bool {
	for _, have := range view.Resources() {
		if have.GroupVersionResource == r {
			return true
		}
	}
	return false
}
