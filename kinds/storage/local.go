package storage

import (
	"strings"

	core "k8s.io/api/core/v1"
)

// LocalDriver is the name of the built-in driver of volumes on nodes' own disks.
const LocalDriver = "local.proa.dev"

// Annotations of a Node, by which its local driver and the controller of its PersistentVolumes talk.
const (
	LocalQuota   = LocalDriver + "/quota"   // "project" or "none"
	LocalRemove  = LocalDriver + "/remove"  // handles whose files have to go, with commas between
	LocalRemoved = LocalDriver + "/removed" // ... whose files are gone
)

// Attributes of a local volume: LocalSize has the bytes by which its directory is made when the first pod comes; LocalEnforce is "true"
// where the size has to be kept to.
const (
	LocalSize    = LocalDriver + "/size"
	LocalEnforce = LocalDriver + "/enforce"
)

// Handles reads one of the annotations that list volumes.
func Handles(n *core.Node, key string) []string {
	if n.Annotations[key] == "" {
		return nil
	}
	return strings.Split(n.Annotations[key], ",")
}
