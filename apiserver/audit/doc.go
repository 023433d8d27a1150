// Package audit writes down who did what: one JSON line for each request, with the field names of audit.k8s.io/v1 Event at
// level Metadata. It is off unless a file is named. It imports authn. Read audit.go.
package audit
