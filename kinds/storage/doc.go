// Package storage holds the kinds of storage.k8s.io: classes of storage and what CSI drivers and nodes say of themselves. It imports
// kinds, object and k8s.io/api. Read storageclass.go.
package storage
