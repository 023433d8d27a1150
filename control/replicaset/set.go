package replicaset

import (
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/control"
	"proa.dev/object"
)

// set is what a ReplicaSet and a ReplicationController have in common.
type set struct {
	object   object.Object // frozen
	replicas int32
	minReady int32
	selector labels.Selector
	template *core.PodTemplateSpec
	status   apps.ReplicaSetStatus
}

func fromReplicaSet(rs *apps.ReplicaSet) (set, error) {
	sel, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	return set{
		object: rs, replicas: control.Or(rs.Spec.Replicas, 1), minReady: rs.Spec.MinReadySeconds,
		selector: sel, template: &rs.Spec.Template, status: rs.Status,
	}, err
}

func fromController(rc *core.ReplicationController) (set, error) {
	s := set{
		object: rc, replicas: control.Or(rc.Spec.Replicas, 1), minReady: rc.Spec.MinReadySeconds,
		selector: labels.SelectorFromSet(rc.Spec.Selector), template: rc.Spec.Template,
		status: apps.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas,
			ReadyReplicas: rc.Status.ReadyReplicas, AvailableReplicas: rc.Status.AvailableReplicas,
			ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if s.template == nil {
		s.template = &core.PodTemplateSpec{}
	}
	for _, c := range rc.Status.Conditions {
		s.status.Conditions = append(s.status.Conditions, apps.ReplicaSetCondition{
			Type: apps.ReplicaSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime,
			Reason: c.Reason, Message: c.Message,
		})
	}
	return s, nil
}

// withStatus is a clone of the set's object with another status.
func (s set) withStatus(st apps.ReplicaSetStatus) object.Object {
	switch o := s.object.(type) {
	case *apps.ReplicaSet:
		n := object.Clone(o)
		n.Status = st
		return n
	case *core.ReplicationController:
		n := object.Clone(o)
		n.Status = core.ReplicationControllerStatus{
			Replicas: st.Replicas, FullyLabeledReplicas: st.FullyLabeledReplicas, ReadyReplicas: st.ReadyReplicas,
			AvailableReplicas: st.AvailableReplicas, ObservedGeneration: st.ObservedGeneration,
		}
		for _, c := range st.Conditions {
			n.Status.Conditions = append(n.Status.Conditions, core.ReplicationControllerCondition{
				Type: core.ReplicationControllerConditionType(c.Type), Status: c.Status,
				LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
			})
		}
		return n
	}
	panic("a set of neither kind") // set is made by the two functions above
}

// countsTerminating says whether the kind's status has terminatingReplicas.
func (s set) countsTerminating() bool {
	_, ok := s.object.(*apps.ReplicaSet)
	return ok
}
