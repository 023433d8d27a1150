package cache

import (
	"reflect"
	"strconv"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/apiserver/codec"
	"proa.dev/kinds"
	"proa.dev/object"
)

// Item is one object at one revision, with its encodings. The object is frozen.
type Item struct {
	Key    object.Key
	Rev    int64
	Object object.Object

	kind    *kinds.Kind
	encoded [2]atomic.Pointer[codec.Encoded] // by codec.Form: JSON and Protobuf
	fields  atomic.Pointer[fields.Set]
	other   atomic.Pointer[Item] // the object in another version, if somebody keeps that; and so on
	proof   []byte               // verification only: what the object was when it was handed out
}

// Loose is an Item for an object that is not stored.
func Loose(k *kinds.Kind, o object.Object) *Item {
	return &Item{Key: object.KeyOf(o), Object: o, kind: k}
}

// As is it as another version of its kind has it: o.
func (it *Item) As(k *kinds.Kind, o object.Object) *Item {
	return &Item{Key: it.Key, Rev: it.Rev, Object: o, kind: k}
}

// Keep has it remember an Item that As has made, as long as there is room for it itself: what a webhook converts is converted once.
func (it *Item) Keep(as *Item) {
	for {
		first := it.other.Load()
		as.other.Store(first)
		if it.other.CompareAndSwap(first, as) {
			return
		}
	}
}

// Kept is the Item of this version of the kind that Keep was called with; nil if there is none.
func (it *Item) Kept(k *kinds.Kind) *Item {
	for o := it.other.Load(); o != nil; o = o.other.Load() {
		if o.kind.Version == k.Version {
			return o
		}
	}
	return nil
}

// Encoded is the object in JSON or protobuf. It is encoded once and kept as long as memory allows.
func (it *Item) Encoded(f codec.Form, keep *Keeper) (codec.Encoded, error) {
	if f > codec.Protobuf {
		return codec.Encode(it.Object, f)
	}
	if e := it.encoded[f].Load(); e != nil {
		return *e, nil
	}
	e, err := codec.Encode(it.Object, f)
	if err != nil || it.Rev == 0 || keep == nil {
		return e, err
	}
	if it.encoded[f].CompareAndSwap(nil, &e) {
		keep.add(it, f, len(e.Bytes))
	}
	return e, nil
}

// Fields are what field selectors can see of the object.
func (it *Item) Fields() fields.Set {
	if f := it.fields.Load(); f != nil {
		return *f
	}
	set := FieldsOf(it.kind, it.Object)
	it.fields.Store(&set)
	return set
}

// FieldsOf is what field selectors can see of o.
func FieldsOf(k *kinds.Kind, o object.Object) fields.Set {
	own := k.Fields(o)
	set := make(fields.Set, len(own)+2)
	for name, v := range own {
		set[name] = v
	}
	set["metadata.name"] = o.GetName()
	if k.Namespaced {
		set["metadata.namespace"] = o.GetNamespace()
	}
	return set
}

// at is the same object with another revision: what DELETED events carry.
func (it *Item) at(rev int64) *Item {
	o := shallow(it.Object)
	o.SetResourceVersion(strconv.FormatInt(rev, 10))
	n := &Item{Key: it.Key, Rev: rev, Object: o, kind: it.kind}
	if other := it.other.Load(); other != nil {
		n.other.Store(other.at(rev))
	}
	n.prove()
	return n
}

// shallow is a copy of o whose maps, slices and pointers are those of o.
func shallow(o object.Object) object.Object {
	if u, ok := o.(runtime.Unstructured); ok {
		return u.DeepCopyObject().(object.Object)
	}
	from := reflect.ValueOf(o).Elem()
	to := reflect.New(from.Type())
	to.Elem().Set(from)
	return to.Interface().(object.Object)
}
