package control

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// RefOf is the controlling owner reference to o.
func RefOf(o object.Object) metav1.OwnerReference {
	return *metav1.NewControllerRef(o, object.KindOf(o))
}

// Controls says whether o is the controller of dependent.
func Controls(o, dependent metav1.Object) bool { return metav1.IsControlledBy(dependent, o) }

// Claims is what Claim found out.
type Claims[P any] struct {
	Mine    []P      // controlled by the owner and selected, without those that are about to be adopted
	Changes []Change // patches that adopt and release
}

// Claim sorts objects into those of owner: it keeps what owner controls and sel selects, releases what it controls but sel does not
// select, and adopts what sel selects and nobody controls. An owner that is being deleted adopts nothing. candidates are the
// dependents of owner and the strays of its namespace.
func Claim[T any, P object.Ptr[T]](owner object.Object, sel labels.Selector, candidates []P) Claims[P] {
	var c Claims[P]
	for _, o := range candidates {
		match := sel.Matches(labels.Set(o.GetLabels()))
		switch ref := metav1.GetControllerOfNoCopy(o); {
		case ref != nil && ref.UID != owner.GetUID():
		case ref != nil && match:
			c.Mine = append(c.Mine, o)
		case ref != nil: // ours, but it does not match any more
			if owner.GetDeletionTimestamp() == nil {
				c.Changes = append(c.Changes, Change{Op: Patch, Object: o, Patch: releasePatch(o, owner)})
			}
		case match && owner.GetDeletionTimestamp() == nil && o.GetDeletionTimestamp() == nil:
			c.Changes = append(c.Changes, Change{Op: Patch, Object: o, Patch: adoptPatch(o, owner)})
		}
	}
	return c
}

type mergeMeta struct {
	UID             types.UID `json:"uid"`
	ResourceVersion string    `json:"resourceVersion,omitempty"`
	OwnerReferences any       `json:"ownerReferences"`
}

// adoptPatch and releasePatch name the resourceVersion: a merge patch replaces the whole list.
func adoptPatch(o, owner object.Object) client.Patch {
	return ownersPatch(o, append(append([]metav1.OwnerReference{}, o.GetOwnerReferences()...), RefOf(owner)))
}

func releasePatch(o, owner object.Object) client.Patch {
	left := []metav1.OwnerReference{}
	for _, ref := range o.GetOwnerReferences() {
		if ref.UID != owner.GetUID() {
			left = append(left, ref)
		}
	}
	return ownersPatch(o, left)
}

func ownersPatch(o object.Object, refs []metav1.OwnerReference) client.Patch {
	return MergePatch(map[string]any{"metadata": mergeMeta{o.GetUID(), o.GetResourceVersion(), refs}})
}

// MergePatch is v as a JSON merge patch (RFC 7386). v must be plain data.
func MergePatch(v any) client.Patch {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("merge patch of %T: %v", v, err)) // only wrong code gets here
	}
	return client.Patch{Type: types.MergePatchType, Data: data}
}

// Strays knows the objects of one resource that have no controller, so that whoever may adopt them need not search a namespace. It is
// kept by a Source and safe for concurrent use.
type Strays[T any, P object.Ptr[T]] struct {
	mu    sync.Mutex // guards byKey
	byKey map[string]map[string]bool
}

// Source keeps s, and wakes what fn (nil: nothing) says for an object that has just become a stray or has other labels than before.
func (s *Strays[T, P]) Source(fn func(stray P, wake func(object.Key))) Source {
	return Source{object.ResourceOf[T, P](), func(e client.Event, wake func(object.Key)) {
		stray := metav1.GetControllerOfNoCopy(e.Object) == nil
		s.set(object.KeyOf(e.Object), stray && e.Type != client.Deleted)
		if !stray || fn == nil || e.Type == client.Deleted {
			return
		}
		if e.Old != nil && metav1.GetControllerOfNoCopy(e.Old) == nil && maps.Equal(e.Old.GetLabels(), e.Object.GetLabels()) {
			return
		}
		fn(e.Object.(P), wake)
	}}
}

func (s *Strays[T, P]) set(k object.Key, stray bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !stray {
		delete(s.byKey[k.Namespace], k.Name)
		if len(s.byKey[k.Namespace]) == 0 {
			delete(s.byKey, k.Namespace)
		}
		return
	}
	if s.byKey == nil {
		s.byKey = map[string]map[string]bool{}
	}
	if s.byKey[k.Namespace] == nil {
		s.byKey[k.Namespace] = map[string]bool{}
	}
	s.byKey[k.Namespace][k.Name] = true
}

// In is the strays of a namespace, as the View has them now.
func (s *Strays[T, P]) In(v client.View, namespace string) []P {
	s.mu.Lock()
	names := make([]string, 0, len(s.byKey[namespace]))
	for name := range s.byKey[namespace] {
		names = append(names, name)
	}
	s.mu.Unlock()
	var out []P
	for _, name := range names {
		if o, ok := client.Lookup[T, P](v, object.Key{Namespace: namespace, Name: name}); ok {
			out = append(out, o)
		}
	}
	return out
}

// ControllerKind is the key of the controller of o, if it is of this kind.
func ControllerKind(o metav1.Object, kind schema.GroupVersionKind) (object.Key, bool) {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil || ref.Kind != kind.Kind {
		return object.Key{}, false
	}
	return object.Key{Namespace: o.GetNamespace(), Name: ref.Name}, true
}
