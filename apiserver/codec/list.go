package codec

import (
	"encoding/json"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// chunk is how many bytes of a list are collected before they are written.
const chunk = 64 << 10

// List is a list of encoded items of one kind: gvk is the list's own kind ("PodList").
type List struct {
	GVK   schema.GroupVersionKind
	Meta  metav1.ListMeta
	Items []Encoded

	Untyped bool // of a custom kind: metadata has every field
}

// WriteTo writes l in form f, which its items have. Nothing is encoded again: a list costs the copying of its bytes.
func (l List) Write(w io.Writer, f Form) error {
	if f == Protobuf {
		return l.writeProtobuf(w)
	}
	return l.writeJSON(w)
}

func (l List) writeJSON(w io.Writer) error {
	meta, err := l.meta()
	if err != nil {
		return err
	}
	b := make([]byte, 0, min(l.size(), chunk)+chunk/2)
	b = append(b, `{"kind":"`+l.GVK.Kind+`","apiVersion":"`+l.GVK.GroupVersion().String()+`","metadata":`...)
	b = append(b, meta...)
	b = append(b, `,"items":[`...)
	for i, it := range l.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = append(b, it.Bytes[it.from:]...)
		if b, err = spill(w, b); err != nil {
			return err
		}
	}
	_, err = w.Write(append(b, "]}\n"...))
	return err
}

func (l List) meta() ([]byte, error) {
	if !l.Untyped {
		return json.Marshal(l.Meta)
	}
	return json.Marshal(struct {
		Continue  string `json:"continue"`
		Remaining *int64 `json:"remainingItemCount,omitempty"`
		Version   string `json:"resourceVersion"`
	}{l.Meta.Continue, l.Meta.RemainingItemCount, l.Meta.ResourceVersion})
}

func (l List) writeProtobuf(w io.Writer) error {
	// Every list message is metadata = 1, items = 2.
	ms := l.Meta.Size()
	size := 1 + uvarintLen(ms) + ms
	for _, it := range l.Items {
		n := it.to - it.from
		size += 1 + uvarintLen(n) + n
	}
	env, from := envelope(l.GVK, 0)
	// The envelope was made for an empty message: put the real size in place of the last byte of its head.
	b := make([]byte, 0, min(size, chunk)+chunk/2)
	b = appendUvarint(append(b, env[:from-1]...), size)
	b = appendUvarint(append(b, 0x0a), ms)
	meta, err := l.Meta.Marshal()
	if err != nil {
		return err
	}
	b = append(b, meta...)
	for _, it := range l.Items {
		b = appendUvarint(append(b, 0x12), it.to-it.from)
		b = append(b, it.inner()...)
		if b, err = spill(w, b); err != nil {
			return err
		}
	}
	_, err = w.Write(append(b, trailer[:]...))
	return err
}

// size is about how many bytes the items take.
func (l List) size() int {
	n := 0
	for _, it := range l.Items {
		n += len(it.Bytes)
	}
	return n
}

func spill(w io.Writer, b []byte) ([]byte, error) {
	if len(b) < chunk {
		return b, nil
	}
	_, err := w.Write(b)
	return b[:0], err
}

// AppendFrame appends one watch event in form f: a JSON line, or a protobuf message behind its length in four bytes.
func AppendFrame(b []byte, f Form, event string, o Encoded) []byte {
	if f == Protobuf {
		// WatchEvent{type = 1, object = 2: RawExtension{raw = 1}}
		ext := 1 + uvarintLen(len(o.Bytes)) + len(o.Bytes)
		size := 1 + uvarintLen(len(event)) + len(event) + 1 + uvarintLen(ext) + ext
		b = append(b, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
		b = append(appendUvarint(append(b, 0x0a), len(event)), event...)
		b = appendUvarint(append(b, 0x12), ext)
		b = appendUvarint(append(b, 0x0a), len(o.Bytes))
		return append(b, o.Bytes...)
	}
	b = append(b, `{"type":"`...)
	b = append(b, event...)
	b = append(b, `","object":`...)
	b = append(b, o.Bytes...)
	return append(b, "}\n"...)
}
