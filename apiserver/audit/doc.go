// Package audit writes down who did what, as a policy file says (audit.k8s.io/v1 Policy): one event for each stage of a request, at
// one of four levels, into a file that rotates and to a webhook. Without a Log nothing of it runs.
//
//	ctx, record := log.Begin(ctx, attributes, event)   // nil where the policy says None
//	record.Stage(audit.RequestReceived)
//	record.Stage(audit.ResponseComplete)
//
// Everything that handles a request can add to its event: audit.Annotate(ctx, key, value). Admission does (webhooks, policies,
// PodSecurity), and so does authorisation.
//
// policy.go decides, parse.go reads, record.go follows a request, log.go hands out; file.go, webhook.go, batch.go and truncate.go are
// sinks. It imports authn. Read record.go, then policy.go.
package audit
