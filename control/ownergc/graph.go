package ownergc

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// item names one object for good: another one of the same name has another uid.
type item struct {
	resource client.Resource
	key      object.Key
	uid      types.UID
}

// graph knows the dependents of each owner, and which owners are gone. It is safe for concurrent use.
type graph struct {
	mu         sync.Mutex // guards all below
	dependents map[types.UID]map[item]bool
	absent     map[types.UID]bool
}

// maxAbsent bounds what is remembered of the gone; when it is full all is forgotten, which costs a look at the API each.
const maxAbsent = 10000

func newGraph() *graph {
	return &graph{dependents: map[types.UID]map[item]bool{}, absent: map[types.UID]bool{}}
}

// set notes that it has the owners of now, and no longer those of before.
func (g *graph) set(it item, now, before []metav1.OwnerReference) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ref := range before {
		delete(g.dependents[ref.UID], it)
		if len(g.dependents[ref.UID]) == 0 {
			delete(g.dependents, ref.UID)
		}
	}
	for _, ref := range now {
		if g.dependents[ref.UID] == nil {
			g.dependents[ref.UID] = map[item]bool{}
		}
		g.dependents[ref.UID][it] = true
	}
}

func (g *graph) of(owner types.UID) []item {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]item, 0, len(g.dependents[owner]))
	for it := range g.dependents[owner] {
		out = append(out, it)
	}
	return out
}

func (g *graph) bury(uid types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.absent) >= maxAbsent {
		clear(g.absent)
	}
	g.absent[uid] = true
}

func (g *graph) buried(uid types.UID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.absent[uid]
}
