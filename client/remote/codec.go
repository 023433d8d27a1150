package remote

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"proa.dev/client"
	"proa.dev/object"
)

// Content types.
const (
	jsonType  = "application/json"
	protoType = "application/vnd.kubernetes.protobuf"
)

// maxFrame bounds one watch event, in bytes.
const maxFrame = 64 << 20

var magic = []byte("k8s\x00")

// proto reads and writes protobuf in the envelope of Kubernetes.
var proto = sync.OnceValue(func() *protobuf.Serializer {
	return protobuf.NewSerializer(object.Scheme(), object.Scheme())
})

// typed is the resources whose objects have Go types.
var typed = sync.OnceValue(func() map[client.Resource]schema.GroupVersionKind {
	all := map[client.Resource]schema.GroupVersionKind{}
	for gvk := range object.Scheme().AllKnownTypes() {
		if gvk.Version != runtime.APIVersionInternal && !strings.HasSuffix(gvk.Kind, "List") {
			all[object.ResourceFor(gvk)] = gvk
		}
	}
	return all
})

// accept is what a call about a resource asks for.
func accept(r client.Resource) string {
	if _, ok := typed()[r]; ok {
		return protoType + "," + jsonType
	}
	return jsonType
}

// encode writes an object: as protobuf where its type can, else as JSON.
func encode(o object.Object) (data []byte, contentType string, err error) {
	if gvk := object.KindOf(o); !gvk.Empty() {
		o.GetObjectKind().SetGroupVersionKind(gvk)
	}
	if _, ok := o.(runtime.Unstructured); !ok {
		var b bytes.Buffer
		if err = proto().Encode(o, &b); err == nil {
			return b.Bytes(), protoType, nil
		}
	}
	if data, err = json.Marshal(o); err != nil {
		return nil, "", fmt.Errorf("encode %s: %w", object.KindOf(o).Kind, err)
	}
	return data, jsonType, nil
}

// decode reads what came in either form. Kinds without a Go type become unstructured.
func decode(data []byte) (runtime.Object, error) {
	if bytes.HasPrefix(data, magic) {
		o, _, err := proto().Decode(data, nil, nil)
		return o, err
	}
	var kind metav1.TypeMeta
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, err
	}
	gvk := kind.GroupVersionKind()
	o, err := object.Scheme().New(gvk)
	if runtime.IsNotRegisteredError(err) {
		u, _, err := unstructured.UnstructuredJSONScheme.Decode(data, nil, nil)
		return u, err
	}
	if err != nil {
		return nil, err
	}
	return o, json.Unmarshal(data, o)
}

// decodeObject is decode for one object with metadata. Where a subresource answers with a mere Status of success, it is nil.
func decodeObject(data []byte) (object.Object, error) {
	o, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if full, ok := o.(object.Object); ok {
		return full, nil
	}
	if st, ok := o.(*metav1.Status); ok && st.Status == metav1.StatusSuccess {
		return nil, nil
	}
	return nil, fmt.Errorf("decode: a %T is no object with metadata", o)
}

// decodeList reads a list. Its items have no kind of their own on the wire; they get it from the list.
func decodeList(data []byte) (*client.List, error) {
	o, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	m, err := meta.ListAccessor(o)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	list := &client.List{ResourceVersion: m.GetResourceVersion(), Continue: m.GetContinue()}
	gvk := o.GetObjectKind().GroupVersionKind()
	gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	err = meta.EachListItem(o, func(item runtime.Object) error {
		full, ok := item.(object.Object)
		if !ok {
			return fmt.Errorf("decode: a %T is no object with metadata", item)
		}
		if item.GetObjectKind().GroupVersionKind().Empty() {
			item.GetObjectKind().SetGroupVersionKind(gvk)
		}
		list.Items = append(list.Items, full)
		return nil
	})
	return list, err
}

// frames reads watch events from a stream.
type frames interface {
	next() (event string, o runtime.Object, err error)
}

func newFrames(r io.Reader, contentType string) frames {
	if strings.HasPrefix(contentType, protoType) {
		return &protoFrames{r: r}
	}
	return &jsonFrames{d: json.NewDecoder(r)}
}

// jsonFrames is one JSON document after another.
type jsonFrames struct{ d *json.Decoder }

func (f *jsonFrames) next() (string, runtime.Object, error) {
	var e struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := f.d.Decode(&e); err != nil {
		return "", nil, err
	}
	o, err := decode(e.Object)
	return e.Type, o, err
}

// protoFrames is messages with their length before them, 4 bytes big-endian.
type protoFrames struct {
	r   io.Reader
	buf []byte
}

func (f *protoFrames) next() (string, runtime.Object, error) {
	var head [4]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return "", nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > maxFrame {
		return "", nil, fmt.Errorf("a watch event of %d bytes", n)
	}
	if cap(f.buf) < n {
		f.buf = make([]byte, n)
	}
	f.buf = f.buf[:n]
	if _, err := io.ReadFull(f.r, f.buf); err != nil {
		return "", nil, err
	}
	var e metav1.WatchEvent
	if err := e.Unmarshal(f.buf); err != nil {
		return "", nil, fmt.Errorf("decode watch event: %w", err)
	}
	o, err := decode(e.Object.Raw)
	return e.Type, o, err
}
