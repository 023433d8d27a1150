// Package podcertificate deletes requests for pods' certificates a quarter of an hour after they were made: by then they were answered,
// or never will be. It imports control. Read controller.go.
package podcertificate
