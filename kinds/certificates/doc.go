// Package certificates holds the kinds of certificates.k8s.io: requests for certificates, which somebody approves and a signer
// answers; those of kubelets for their pods; and certificates of authorities that pods mount. It imports kinds, object and k8s.io/api.
// Read request.go, then podrequest.go and trustbundle.go.
package certificates
