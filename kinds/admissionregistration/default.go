package admissionregistration

import (
	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds"
)

const (
	defaultTimeout = 10 // seconds that a webhook may take
	defaultPort    = 443
)

func webhookColumns() []kinds.Column {
	columns := kinds.Columns("Name", "Webhooks:integer", "Age")
	columns[1].Description = "Webhooks indicates the number of webhooks registered in this configuration"
	return columns
}

// fill sets what is not set.
func fill[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

func defaultHook(failure **registration.FailurePolicyType, match **registration.MatchPolicyType, timeout **int32) {
	fill(failure, registration.Fail)
	fill(match, registration.Equivalent)
	fill(timeout, defaultTimeout)
}

func defaultSelectors(namespaces, objects **metav1.LabelSelector) {
	fill(namespaces, metav1.LabelSelector{})
	fill(objects, metav1.LabelSelector{})
}

func defaultRules(rules []registration.RuleWithOperations) {
	for i := range rules {
		defaultRule(&rules[i].Rule)
	}
}

func defaultService(s *registration.ServiceReference) {
	if s != nil {
		fill(&s.Port, defaultPort)
	}
}
