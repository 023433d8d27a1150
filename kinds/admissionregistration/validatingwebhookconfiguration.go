package admissionregistration

import (
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
)

// ValidatingWebhookConfiguration is admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration: whom the API server asks whether a
// change may be made.
var ValidatingWebhookConfiguration = kinds.Def[registration.ValidatingWebhookConfiguration, *registration.ValidatingWebhookConfiguration]{
	Path:       "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
	Cluster:    true,
	Categories: []string{"api-extensions"},
	Generation: true,
	Versioned:  true,
	Default: func(c *registration.ValidatingWebhookConfiguration) {
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			defaultHook(&w.FailurePolicy, &w.MatchPolicy, &w.TimeoutSeconds)
			defaultSelectors(&w.NamespaceSelector, &w.ObjectSelector)
			defaultRules(w.Rules)
			defaultService(w.ClientConfig.Service)
		}
	},
	ValidateCreate: func(c *registration.ValidatingWebhookConfiguration) field.ErrorList {
		return validateHooks(hooksOfValidating(c), strict)
	},
	ValidateUpdate: func(c, old *registration.ValidatingWebhookConfiguration) field.ErrorList {
		now, was := hooksOfValidating(c), hooksOfValidating(old)
		return validateHooks(now, leniency(now, was))
	},
	Warn:    func(c, _ *registration.ValidatingWebhookConfiguration) []string { return warnReserved(c.Name) },
	Columns: webhookColumns(),
	Row: func(c *registration.ValidatingWebhookConfiguration, now time.Time) []any {
		return []any{c.Name, int64(len(c.Webhooks)), kinds.Age(c.CreationTimestamp, now)}
	},
}

func hooksOfValidating(c *registration.ValidatingWebhookConfiguration) []hook {
	out := make([]hook, len(c.Webhooks))
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		out[i] = hook{
			name: w.Name, rules: w.Rules, client: &w.ClientConfig, failure: w.FailurePolicy, match: w.MatchPolicy, sideEffects: w.SideEffects,
			timeout: w.TimeoutSeconds, namespaces: w.NamespaceSelector, objects: w.ObjectSelector, versions: w.AdmissionReviewVersions,
			conditions: w.MatchConditions,
		}
	}
	return out
}
