package apiregistration

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// APIService is apiregistration.k8s.io/v1 APIService: one version of one group, and the service that answers for it; without one, this
// API server does.
var APIService = kinds.Def[registration.APIService, *registration.APIService]{
	Path: "apiregistration.k8s.io/v1/apiservices", Cluster: true, Status: true, Versioned: true,
	// Kubernetes keeps them under the name of their API server, not of their group.
	Storage:    "apiregistration.k8s.io/apiservices",
	Categories: []string{"api-extensions"},
	Name:       func(string, bool) []string { return nil }, // validateService says what a name has to be
	Default: func(s *registration.APIService) {
		if s.Spec.Service != nil && s.Spec.Service.Port == nil {
			s.Spec.Service.Port = ptr.To[int32](443)
		}
	},
	Prepare: func(s, old *registration.APIService) {
		if old == nil && s.Spec.Service == nil {
			SetCondition(s, LocalCondition(metav1.Now()))
		}
	},
	PrepareStatus: func(s, old *registration.APIService) {
		s.Labels, s.Annotations, s.Finalizers, s.OwnerReferences = old.Labels, old.Annotations, old.Finalizers, old.OwnerReferences
	},
	Validate: validateService, ValidateStatus: validateStatus,
	Columns: columns(),
	Row: func(s *registration.APIService, now time.Time) []any {
		return []any{s.Name, servedBy(s), availability(s), kinds.Age(s.CreationTimestamp, now)}
	},
}

func columns() []kinds.Column {
	c := kinds.Columns("Name", "Service", "Available", "Age")
	c[1].Description = "The reference to the service that hosts this API endpoint."
	c[2].Description = "Whether this service is available."
	return c
}

func servedBy(s *registration.APIService) string {
	if s.Spec.Service == nil {
		return "Local"
	}
	return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
}

func availability(s *registration.APIService) string {
	c := Condition(s, registration.Available)
	switch {
	case c == nil:
		return string(registration.ConditionUnknown)
	case c.Status != registration.ConditionTrue && c.Reason != "":
		return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
	}
	return string(c.Status)
}

// LocalCondition is that of a version which this API server answers for itself.
func LocalCondition(now metav1.Time) registration.APIServiceCondition {
	return registration.APIServiceCondition{Type: registration.Available, Status: registration.ConditionTrue, LastTransitionTime: now,
		Reason: "Local", Message: "Local APIServices are always available"}
}

// Condition is the condition of this type; nil if there is none.
func Condition(s *registration.APIService, kind registration.APIServiceConditionType) *registration.APIServiceCondition {
	for i := range s.Status.Conditions {
		if s.Status.Conditions[i].Type == kind {
			return &s.Status.Conditions[i]
		}
	}
	return nil
}

// SetCondition gives s the condition c. The time of the transition stays where the status does.
func SetCondition(s *registration.APIService, c registration.APIServiceCondition) {
	old := Condition(s, c.Type)
	if old == nil {
		s.Status.Conditions = append(s.Status.Conditions, c)
		return
	}
	if old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	*old = c
}
