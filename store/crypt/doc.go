// Package crypt is a store.Store whose values are encrypted on their way into another Store: encryption at rest, as the file
// apiserver.config.k8s.io/v1 EncryptionConfiguration says, and in the bytes that Kubernetes writes, so that each opens the data of the
// other. Keys, revisions and watches stay as they are.
//
// Worked example, a Secret with the AES-GCM key "key1":
//
//	/registry/secrets/web/password -> k8s:enc:aesgcm:v1:key1:<nonce, 12 bytes><ciphertext and tag>
//
// The store's key is authenticated with it, so that a value cannot be moved to another key. With KMS v2, what follows "k8s:enc:kms:v2:name:" is
// a protobuf message with the encrypted seed of a key; kms.go knows it.
//
// Several providers and keys: the first one writes, all of them read. A value that another than the first has written is stale: whoever
// writes the object anew, even without a change, brings it up to date, and Reencrypt does that for all of them.
//
// It imports store, kit, and for secretbox golang.org/x/crypto, for KMS gRPC. Read store.go, then config.go.
package crypt
