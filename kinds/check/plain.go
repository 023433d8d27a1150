package check

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Plain is v for an error's value as Kubernetes shows its inner types: JSON with the names of Go's fields, and nothing left out. What
// marshals itself (a quantity, a time), and the types that Kubernetes has once only (a label selector) show as they always do.
func Plain(v any) any {
	if _, omitted := v.(field.OmitValueType); omitted {
		return v
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Struct, reflect.Pointer, reflect.Slice:
		return plain{r}
	}
	return v
}

type plain struct{ v reflect.Value }

func (p plain) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := writePlain(&b, p.v)
	return b.Bytes(), err
}

// newer are fields that only the outer types have: they stand behind features that are off.
var newer = map[string]bool{"DerivedAttributes": true, "SkipNodeOperations": true, "CompatibilityGroups": true, "NodeAllocatableResources": true,
	"EvictionResponders": true}

var marshaler = reflect.TypeFor[json.Marshaler]()

// writePlain is for the types of the API: they have no cycles.
func writePlain(b *bytes.Buffer, v reflect.Value) error {
	switch {
	case !v.IsValid():
		b.WriteString("null")
		return nil
	case v.Type().Implements(marshaler) || reflect.PointerTo(v.Type()).Implements(marshaler) || strings.HasPrefix(v.Type().PkgPath(), "k8s.io/apimachinery/"):
		return writeJSON(b, v) // shared by inner and outer types
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.WriteString("null")
			return nil
		}
		return writePlain(b, v.Elem())
	case reflect.Struct:
		return writeStruct(b, v)
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return writeJSON(b, v)
		}
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writePlain(b, v.Index(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	return writeJSON(b, v)
}

func writeStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	n := 0
	for _, f := range layout(v) {
		var part bytes.Buffer
		if err := writePlain(&part, f.value); err != nil {
			return err
		}
		text := part.Bytes()
		if f.inline { // its fields stand among ours
			if text = bytes.TrimSuffix(bytes.TrimPrefix(text, []byte("{")), []byte("}")); len(text) == 0 {
				continue
			}
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		if !f.inline {
			b.WriteString(`"` + f.name + `":`)
		}
		b.Write(text)
	}
	b.WriteByte('}')
	return nil
}

func writeJSON(b *bytes.Buffer, v reflect.Value) error {
	text, err := json.Marshal(v.Interface())
	b.Write(text)
	return err
}
