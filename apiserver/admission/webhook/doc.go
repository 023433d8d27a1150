// Package webhook asks the webhooks of users about changes: mutating ones may alter them, validating ones may refuse them, as
// MutatingWebhookConfigurations and ValidatingWebhookConfigurations say.
//
//	configurations (the View) -> hook (sorted, compiled once) -> match: rules, selectors, conditions -> AdmissionReview over HTTPS
//	  mutating: one after the other, each sees what those before have made; the object is defaulted after each patch; those that want it
//	            are asked again where a later one has changed something
//	  validating: side by side
//
// A cluster without configurations pays one load of a pointer for each request. Behaviour and messages are those of Kubernetes. It imports
// apiserver/admission, rules, apiserver/cel, apiserver/webhook, audit, authz, client and kinds/cel. Read plugin.go, then mutate.go.
package webhook
