package admissionregistration

import (
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
)

// MutatingWebhookConfiguration is admissionregistration.k8s.io/v1 MutatingWebhookConfiguration: who may alter a change before it is made.
var MutatingWebhookConfiguration = kinds.Def[registration.MutatingWebhookConfiguration, *registration.MutatingWebhookConfiguration]{
	Path:       "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
	Cluster:    true,
	Categories: []string{"api-extensions"},
	Generation: true,
	Versioned:  true,
	Default: func(c *registration.MutatingWebhookConfiguration) {
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			defaultHook(&w.FailurePolicy, &w.MatchPolicy, &w.TimeoutSeconds)
			fill(&w.ReinvocationPolicy, registration.NeverReinvocationPolicy)
			defaultSelectors(&w.NamespaceSelector, &w.ObjectSelector)
			defaultRules(w.Rules)
			defaultService(w.ClientConfig.Service)
		}
	},
	ValidateCreate: func(c *registration.MutatingWebhookConfiguration) field.ErrorList {
		return validateHooks(hooksOfMutating(c), strict)
	},
	ValidateUpdate: func(c, old *registration.MutatingWebhookConfiguration) field.ErrorList {
		now, was := hooksOfMutating(c), hooksOfMutating(old)
		return validateHooks(now, leniency(now, was))
	},
	Warn:    func(c, _ *registration.MutatingWebhookConfiguration) []string { return warnReserved(c.Name) },
	Columns: webhookColumns(),
	Row: func(c *registration.MutatingWebhookConfiguration, now time.Time) []any {
		return []any{c.Name, int64(len(c.Webhooks)), kinds.Age(c.CreationTimestamp, now)}
	},
}

func hooksOfMutating(c *registration.MutatingWebhookConfiguration) []hook {
	out := make([]hook, len(c.Webhooks))
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		out[i] = hook{
			name: w.Name, rules: w.Rules, client: &w.ClientConfig, failure: w.FailurePolicy, match: w.MatchPolicy, sideEffects: w.SideEffects,
			timeout: w.TimeoutSeconds, namespaces: w.NamespaceSelector, objects: w.ObjectSelector, versions: w.AdmissionReviewVersions,
			conditions: w.MatchConditions, reinvocation: w.ReinvocationPolicy,
		}
	}
	return out
}
