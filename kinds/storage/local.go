package storage

import (
	"encoding/json"
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
	LocalCopy    = LocalDriver + "/copy"    // volumes that are to be copies of others: a LocalOrder by handle, as JSON
	LocalCopied  = LocalDriver + "/copied"  // ... and what became of it, by handle, as JSON: "" is done, "-" dropped, all else why not
)

// LocalOrder is one volume that is to be made as a copy.
type LocalOrder struct {
	From     string `json:"from"`               // handle
	Bytes    int64  `json:"bytes"`              // how large it may become
	Enforced bool   `json:"enforced,omitempty"` // that has to be kept to
	Claim    string `json:"claim"`              // "namespace/name", whose volume it will be
	Drop     bool   `json:"drop,omitempty"`     // nobody wants it any more
}

// LocalDropped is the answer to an order with Drop.
const LocalDropped = "-"

// LocalOrders reads LocalCopy. What cannot be read is no order.
func LocalOrders(n *core.Node) map[string]LocalOrder {
	out := map[string]LocalOrder{}
	if text := n.Annotations[LocalCopy]; text == "" || json.Unmarshal([]byte(text), &out) != nil {
		return map[string]LocalOrder{}
	}
	return out
}

// LocalAnswers reads LocalCopied.
func LocalAnswers(n *core.Node) map[string]string {
	out := map[string]string{}
	if text := n.Annotations[LocalCopied]; text == "" || json.Unmarshal([]byte(text), &out) != nil {
		return map[string]string{}
	}
	return out
}

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
