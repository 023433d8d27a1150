package crypt

import (
	"errors"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Protobuf by hand: four small messages are not worth generated code.

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func appendMap(b []byte, n protowire.Number, m map[string][]byte) []byte {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		var entry []byte
		entry = appendBytes(entry, 1, []byte(name))
		entry = appendBytes(entry, 2, m[name])
		b = protowire.AppendTag(b, n, protowire.BytesType)
		b = protowire.AppendBytes(b, entry)
	}
	return b
}

var errMessage = errors.New("malformed protobuf message")

// fields calls f for every field: with its bytes or its number, whichever it has. Other kinds of fields are skipped.
func fields(b []byte, f func(n protowire.Number, v []byte, x uint64) error) error {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errMessage
		}
		b = b[size:]
		var v []byte
		var x uint64
		switch t {
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			x, size = protowire.ConsumeVarint(b)
		default:
			if size = protowire.ConsumeFieldValue(n, t, b); size < 0 {
				return errMessage
			}
			b = b[size:]
			continue
		}
		if size < 0 {
			return errMessage
		}
		b = b[size:]
		if err := f(n, v, x); err != nil {
			return err
		}
	}
	return nil
}

// addEntry adds an entry of a map.
func addEntry(m *map[string][]byte, entry []byte) error {
	var name string
	var value []byte
	err := fields(entry, func(n protowire.Number, v []byte, _ uint64) error {
		switch n {
		case 1:
			name = string(v)
		case 2:
			value = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	if *m == nil {
		*m = map[string][]byte{}
	}
	(*m)[name] = value
	return nil
}
