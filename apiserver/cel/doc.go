// Package cel is what the expressions of admission see of a request: a Subject gives the variables their values, in the version in which a
// rule has matched, and answers what they ask of the authorizer. Conditions are the match conditions of webhooks and policies.
//
//	s, err := cel.NewSubject(ctx, request, match, authorizer)
//	in := s.Input(nil, nil)                    params, namespaceObject
//	yes, err := conditions.Match(ctx, in)
//
// Compiling and evaluating is kinds/cel. It imports that, apiserver/admission, admission/rules and authz. Read subject.go.
package cel
