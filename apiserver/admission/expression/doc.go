// Package expression is a request of admission as the outside sees it: the AdmissionRequest that webhooks are sent and expressions read,
// the authorizer that expressions may ask, and the match conditions by which webhooks and policies say what they want to see.
//
// It imports apiserver/admission, rules, authz and kinds/cel. Read request.go, then conditions.go.
package expression
