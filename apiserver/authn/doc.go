// Package authn finds out who makes a request: by client certificate, service account token, the headers of a trusted front
// proxy, or nobody (anonymous). It also issues service account tokens and publishes the keys that verify them (OIDC discovery).
//
// A token is a JWT (RFC 7519) signed with the cluster's key, bound to its service account and usually to a pod; it is good only
// while those exist. Its claims are Kubernetes' own (KEP-1205):
//
//	{"aud": ["https://kubernetes.default.svc.cluster.local"], "exp": 1700003600, "iat": 1700000000, "nbf": 1700000000,
//	 "iss": "https://kubernetes.default.svc.cluster.local", "jti": "9d6f...", "sub": "system:serviceaccount:shop:web",
//	 "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web", "uid": "1b..."},
//	                   "pod": {"name": "web-7f-x", "uid": "2c..."}, "node": {"name": "n1", "uid": "3d..."}}}
//
// Imports object and client (to look bound objects up). Read user.go, then chain.go, token.go and issuer.go.
package authn
