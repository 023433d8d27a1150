// Package volumes is admission of claims and volumes: what is in use is not deleted (StorageObjectInUseProtection; control/protection takes
// the finalizers away), and a claim grows only where its class allows that (PersistentVolumeClaimResize). It imports
// apiserver/admission and client. Read volumes.go.
package volumes
