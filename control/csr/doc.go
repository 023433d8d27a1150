// Package csr answers certificate signing requests: it approves those by which kubelets get and renew their client certificates, signs
// what is approved for the four signers of Kubernetes itself, and deletes requests that nobody needs any more. Requests for other
// signers are theirs.
//
//	kubernetes.io/kube-apiserver-client           clients of the API
//	kubernetes.io/kube-apiserver-client-kubelet   the same for kubelets, approved without a person where a role allows it
//	kubernetes.io/kubelet-serving                 the kubelets' own API
//	kubernetes.io/legacy-unknown                  what was asked for before there were signers
//
// It imports control, client, kinds and object; the key that signs comes in as a function. Read controller.go, then plan.go.
package csr
