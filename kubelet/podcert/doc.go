// Package podcert gets the certificates that pods want in their volumes (KEP-4317): it makes a key, asks a signer by a
// PodCertificateRequest, waits for its word, and does so again when the certificate is to be renewed. A volume shows the old one until
// then. What a signer denies is denied for good: the pod that asked never gets it.
//
//	nothing -> asked -> good -> asked again, still good -> good ...
//	              \-> denied, failed <-/
//
// Keys live in memory, and in the volumes of their pods: after a restart those are taken from there, and renewed within minutes.
//
// It imports client, object and k8s.io/api. Read podcert.go, then key.go.
package podcert
