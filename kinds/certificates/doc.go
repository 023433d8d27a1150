// Package certificates holds the kinds of certificates.k8s.io: requests for certificates, which somebody approves and a signer
// answers. It imports kinds, object and k8s.io/api. Read request.go.
package certificates
