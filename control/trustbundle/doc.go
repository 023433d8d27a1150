// Package trustbundle publishes the certificates that API servers are checked against as the ClusterTrustBundle of the signer
// kubernetes.io/kube-apiserver-serving, for pods to mount. Its name says what is in it:
//
//	kubernetes.io:kube-apiserver-serving:<the first 12 bytes of its SHA-256, in hex>
//
// Other bundles of that signer, as those of former authorities, are deleted. It imports control. Read controller.go.
package trustbundle
