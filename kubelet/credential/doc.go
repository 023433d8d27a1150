// Package credential asks plugins for what image registries want to know: programs that the node's administrator lists in a
// CredentialProviderConfig (kubelet.config.k8s.io/v1), run with one JSON request on their standard input and one answer on their
// standard output (credentialprovider.kubelet.k8s.io/v1). Answers are kept for as long as they allow.
//
//	{"kind": "CredentialProviderRequest", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "image": "1234.registry.example/app"}
//	{"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "cacheKeyType": "Registry",
//	 "cacheDuration": "6h", "auth": {"*.registry.example": {"username": "AWS", "password": "..."}}}
//
// A plugin that fails is logged, and the image pulled without it. Nothing runs before the first pull of an image that a plugin is for.
// It imports the API types, kit, yaml and kubelet/pulled. Read credential.go.
package credential
