// Package audit writes down who did what: one JSON line for each request, with the field names of audit.k8s.io/v1 Event at
// level Metadata. It is off unless a file is named.
//
// Everything that handles a request can add to its event: audit.Annotate(ctx, key, value). Admission does (webhooks, policies,
// PodSecurity), and so does authorisation. It imports authn. Read audit.go, then annotate.go.
package audit
