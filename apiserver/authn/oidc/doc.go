// Package oidc knows the ID tokens of identity providers (OpenID Connect Core 1.0), as an AuthenticationConfiguration of
// apiserver.config.k8s.io describes them: which issuers and audiences, what claims have to say, and which user they make.
//
//	apiVersion: apiserver.config.k8s.io/v1
//	kind: AuthenticationConfiguration
//	jwt:
//	- issuer: {url: https://id.example.com, audiences: [cluster]}
//	  claimMappings: {username: {claim: email, prefix: ""}, groups: {claim: groups, prefix: "oidc:"}}
//	anonymous: {enabled: true, conditions: [{path: /livez}]}
//
// The keys of an issuer are fetched when the first token of it comes, and again when one is signed with a key that is not known, or
// after an hour. Expressions are compiled when the file is read, and the libraries for them are loaded only if it has any.
//
// It imports authn, kinds/cel and kit. Read config.go, then check.go and keys.go.
package oidc
