package control

import (
	"sync"

	"proa.dev/client"
	"proa.dev/object"
)

// LabelIndex finds the objects of one resource by their labels without searching a namespace. It is kept by a Source and safe for
// concurrent use. The zero value is ready.
type LabelIndex[T any, P object.Ptr[T]] struct {
	mu   sync.Mutex // guards sets
	sets map[label]map[string]bool
}

type label struct{ namespace, key, value string }

// Keep brings the index up to date with an event.
func (x *LabelIndex[T, P]) Keep(e client.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	o := e.Object
	if e.Old != nil {
		for k, v := range e.Old.GetLabels() {
			if now, ok := o.GetLabels()[k]; !ok || now != v {
				x.drop(label{o.GetNamespace(), k, v}, o.GetName())
			}
		}
	}
	for k, v := range o.GetLabels() {
		l := label{o.GetNamespace(), k, v}
		if e.Type == client.Deleted {
			x.drop(l, o.GetName())
			continue
		}
		if x.sets == nil {
			x.sets = map[label]map[string]bool{}
		}
		if x.sets[l] == nil {
			x.sets[l] = map[string]bool{}
		}
		x.sets[l][o.GetName()] = true
	}
}

func (x *LabelIndex[T, P]) drop(l label, name string) {
	delete(x.sets[l], name)
	if len(x.sets[l]) == 0 {
		delete(x.sets, l)
	}
}

// Find is the objects of a namespace that have all labels of sel, as the View has them now, in no order. An empty sel finds nothing.
func (x *LabelIndex[T, P]) Find(v client.View, namespace string, sel map[string]string) []P {
	var out []P
	for _, name := range x.names(namespace, sel) {
		if o, ok := client.Lookup[T, P](v, object.Key{Namespace: namespace, Name: name}); ok && has(o.GetLabels(), sel) {
			out = append(out, o)
		}
	}
	return out
}

// names is the smallest of the sets that sel's labels name.
func (x *LabelIndex[T, P]) names(namespace string, sel map[string]string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var least map[string]bool
	first := true
	for k, v := range sel {
		if s := x.sets[label{namespace, k, v}]; first || len(s) < len(least) {
			least, first = s, false
		}
	}
	names := make([]string, 0, len(least))
	for name := range least {
		names = append(names, name)
	}
	return names
}

func has(labels, sel map[string]string) bool {
	for k, v := range sel {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// SelectorIndex finds the objects, with equality selectors, that select given labels. The zero value is ready; it is safe for concurrent use.
type SelectorIndex struct {
	mu   sync.Mutex                                 // guards sets
	sets map[label]map[object.Key]map[string]string // under the first of a selector's labels in byte order: object -> selector
}

// Set notes the selector that the object has now, and had before (nil: none).
func (x *SelectorIndex) Set(key object.Key, now, before map[string]string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if l, ok := firstLabel(key.Namespace, before); ok {
		delete(x.sets[l], key)
		if len(x.sets[l]) == 0 {
			delete(x.sets, l)
		}
	}
	l, ok := firstLabel(key.Namespace, now)
	if !ok {
		return
	}
	if x.sets == nil {
		x.sets = map[label]map[object.Key]map[string]string{}
	}
	if x.sets[l] == nil {
		x.sets[l] = map[object.Key]map[string]string{}
	}
	x.sets[l][key] = now
}

// Selecting calls fn for every object whose selector selects labels.
func (x *SelectorIndex) Selecting(namespace string, labels map[string]string, fn func(object.Key)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, v := range labels {
		for key, sel := range x.sets[label{namespace, k, v}] {
			if has(labels, sel) {
				fn(key)
			}
		}
	}
}

func firstLabel(namespace string, sel map[string]string) (l label, ok bool) {
	for k, v := range sel {
		if !ok || k < l.key {
			l, ok = label{namespace, k, v}, true
		}
	}
	return l, ok
}
