package codec

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Form is a wire form.
type Form uint8

// The wire forms.
const (
	JSON Form = iota
	Protobuf
	YAML
)

// magic opens every protobuf encoding of an object.
var magic = [4]byte{'k', '8', 's', 0}

// trailer is the two empty strings that end runtime.Unknown.
var trailer = [4]byte{0x1a, 0, 0x22, 0}

// message is what generated protobuf types can do.
type message interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
}

// Encoded is one object in one wire form, with the place of the part that goes into a list.
type Encoded struct {
	Bytes    []byte
	from, to int // protobuf: the bare message; JSON: what follows kind and apiVersion
}

// inner is the part of e that stands in a list: without envelope, kind and apiVersion.
func (e Encoded) inner() []byte { return e.Bytes[e.from:e.to] }

// Encode is o in a wire form. o must carry its kind and apiVersion. Types without protobuf (unstructured ones) give
// ErrNoProtobuf.
func Encode(o runtime.Object, f Form) (Encoded, error) {
	switch f {
	case Protobuf:
		return encodeProtobuf(o)
	case YAML:
		b, err := yaml.Marshal(o)
		return Encoded{Bytes: b, to: len(b)}, err
	}
	b, err := json.Marshal(o)
	if err != nil {
		return Encoded{}, fmt.Errorf("encode %T: %w", o, err)
	}
	e := Encoded{Bytes: b, from: 1, to: len(b) - 1}
	// Kubernetes' types begin with their TypeMeta, and items of a typed list leave it out.
	gvk := o.GetObjectKind().GroupVersionKind()
	head := `{"kind":"` + gvk.Kind + `","apiVersion":"` + gvk.GroupVersion().String() + `"`
	if n := len(head); len(b) > n && string(b[:n]) == head {
		e.from = n
		if b[n] == ',' {
			e.from++
		}
	}
	return e, nil
}

// ErrNoProtobuf says that a type has no protobuf form.
type ErrNoProtobuf struct{ Object runtime.Object }

func (e *ErrNoProtobuf) Error() string { return fmt.Sprintf("%T has no protobuf form", e.Object) }

func encodeProtobuf(o runtime.Object) (Encoded, error) {
	m, ok := o.(message)
	if !ok {
		return Encoded{}, &ErrNoProtobuf{o}
	}
	size := m.Size()
	b, from := envelope(o.GetObjectKind().GroupVersionKind(), size)
	n, err := m.MarshalToSizedBuffer(b[from : from+size])
	if err != nil {
		return Encoded{}, fmt.Errorf("encode %T: %w", o, err)
	}
	if n != size {
		return Encoded{}, fmt.Errorf("encode %T: it changed while it was encoded", o)
	}
	return Encoded{Bytes: b, from: from, to: from + size}, nil
}

// envelope makes a buffer for a message of size bytes with everything around it written; the message starts at from.
func envelope(gvk schema.GroupVersionKind, size int) (b []byte, from int) {
	gv := gvk.GroupVersion().String()
	meta := 2 + uvarintLen(len(gv)) + len(gv) + uvarintLen(len(gvk.Kind)) + len(gvk.Kind)
	from = len(magic) + 1 + uvarintLen(meta) + meta + 1 + uvarintLen(size)
	b = make([]byte, 0, from+size+len(trailer))
	b = append(b, magic[:]...)
	b = appendUvarint(append(b, 0x0a), meta)
	b = append(appendUvarint(append(b, 0x0a), len(gv)), gv...)
	b = append(appendUvarint(append(b, 0x12), len(gvk.Kind)), gvk.Kind...)
	b = appendUvarint(append(b, 0x12), size)
	b = b[:from+size+len(trailer)]
	copy(b[from+size:], trailer[:])
	return b, from
}

func uvarintLen(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }

func appendUvarint(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)) }
