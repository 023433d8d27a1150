// Package bootstraptoken looks after the tokens by which machines join: it deletes those that have expired, and signs the ConfigMap
// kube-public/cluster-info with those that may, so that who knows the token can tell that what it says of the cluster is true. The
// signature is a detached JWS (RFC 7515 appendix F) by the token's secret:
//
//	jws-kubeconfig-abcdef: eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..c2lnbmF0dXJl
//
// It imports control, client, kinds and object. Read controller.go.
package bootstraptoken
