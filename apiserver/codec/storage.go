package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"proa.dev/kinds"
	"proa.dev/object"
)

// Store is the storage form of o: the protobuf envelope, or JSON where the type has no protobuf. It has no resourceVersion,
// which the store keeps itself; the caller has cleared it.
func Store(o object.Object) ([]byte, error) {
	if d, ok := o.(*apiextensions.CustomResourceDefinition); ok && d.Status.Conditions != nil && len(d.Status.Conditions) == 0 {
		return json.Marshal(o) // in protobuf it would be null, in Kubernetes it stays an empty list
	}
	e, err := encodeProtobuf(o)
	if none := (*ErrNoProtobuf)(nil); errors.As(err, &none) {
		return json.Marshal(o)
	}
	return e.Bytes, err
}

// Load reads a stored object of kind k: in the version that k stores, or in another one that k serves or was stored in, and sets its kind.
// Defaults and the resourceVersion are the caller's.
func Load(k *kinds.Kind, data []byte) (object.Object, error) {
	if k.Custom != nil { // it stays in the version that it was stored in
		u := &unstructured.Unstructured{}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &u.Object); err != nil {
			return nil, fmt.Errorf("decode %s: %w", k.Kind, err)
		}
		k.Custom.Prune(u)
		return u, nil
	}
	said, raw, err := open(data)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", k.Kind, err)
	}
	o, from := k.New(), func(o object.Object) (object.Object, error) { return o, nil }
	if said != k.GVK() && !(said.Kind == k.Kind && slices.Contains(k.Former, said.GroupVersion().String())) {
		also := version(k, said)
		if also == nil {
			return nil, fmt.Errorf("decode %s: stored as %s, which is not served", k.Kind, said)
		}
		o, from = also.New(), also.From
	}
	if raw == nil {
		err = json.Unmarshal(data, o)
	} else if m, ok := o.(message); ok {
		err = m.Unmarshal(raw)
	} else {
		err = &ErrNoProtobuf{o}
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", k.Kind, err)
	}
	if o, err = from(o); err != nil {
		return nil, fmt.Errorf("convert %s: %w", k.Kind, err)
	}
	o.GetObjectKind().SetGroupVersionKind(k.GVK())
	return o, nil
}

// open reads what the stored bytes say about themselves. raw is nil for JSON.
func open(data []byte) (said schema.GroupVersionKind, raw []byte, err error) {
	if bytes.HasPrefix(data, magic[:]) {
		var u runtime.Unknown
		if err := u.Unmarshal(data[len(magic):]); err != nil {
			return said, nil, err
		}
		if u.Raw == nil {
			u.Raw = []byte{}
		}
		return u.GroupVersionKind(), u.Raw, nil
	}
	var t runtime.TypeMeta
	if err := json.Unmarshal(data, &t); err != nil {
		return said, nil, err
	}
	return schema.FromAPIVersionAndKind(t.APIVersion, t.Kind), nil, nil
}

func version(k *kinds.Kind, gvk schema.GroupVersionKind) *kinds.Other {
	for i := range k.Also {
		if r := kinds.ParsePath(k.Also[i].Path); r.GroupVersion() == gvk.GroupVersion() && gvk.Kind == k.Kind {
			return &k.Also[i]
		}
	}
	return nil
}
