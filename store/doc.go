// Package store is the seam to durable storage: bytes under string keys, every write at a growing revision, and a watch that
// replays from any revision not yet compacted. It knows nothing of Kubernetes objects. store/etcd implements it twice: a
// member inside this process, and an existing cluster. store/storetest is the suite that every implementation passes.
// Imports the standard library only. Read store.go.
//
// Worked example: a ConfigMap "cfg" in namespace "web" created, updated and deleted:
//
//	Write{Key: "/registry/configmaps/web/cfg", If: Absent, Value: v1}      -> revision 101
//	Write{Key: "/registry/configmaps/web/cfg", If: 101, Value: v2}         -> revision 102
//	Write{Key: "/registry/configmaps/web/cfg", If: 101, Value: v3}         -> *Conflict{Current: {v2, 102}}
//	Write{Key: "/registry/configmaps/web/cfg", If: 102, Delete: true}      -> revision 103
package store
