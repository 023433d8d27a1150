package hostile

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// values are what a value is replaced by.
var values = []any{
	nil, true, false, 0, -1, 1, 1.5, 1e300, -9223372036854775808, json.Number("99999999999999999999"), json.Number("1e999"), "", " ", "a", "A_b", "-", "..", "/", "%00",
	"\x00", "\ufffd\u202e", strings.Repeat("x", 70), strings.Repeat("y", 300), strings.Repeat("z.", 20000), "2020-01-01T00:00:00Z", "1Gi", "-5m", "1e30", "${x}", "*", "1.2.3.4",
	"::1", "10.0.0.0/8", "a=b,c in (d", []any{}, []any{nil}, []any{[]any{}}, []any{map[string]any{}}, map[string]any{}, map[string]any{"": nil}, map[string]any{"a/b/c": "d"},
	"\xff\xfe", "a\xc3", int64(1) << 53, 4294967296, 2147483647, -2147483649, 1e-400, json.Number("-0"), json.Number("0.1e-7"), json.Number("1" + strings.Repeat("0", 400)), json.Number("1." + strings.Repeat("1", 400)),
	"9223372036854775807Ei", "0.0000000000001", "1e-30", "12E", "300000h", "9999999999999999999s", "9999-12-31T23:59:60Z", "0000-00-00T00:00:00Z", "Mon", "999.1.1.1", "::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3.4/33",
	"$(x)", "{{a}}", "(a+)+$", "[", "a\nb", "default/../..", nest(60, false), nest(300, true), map[string]any{"$patch": "delete"}, map[string]any{"$patch": "replace", "a": nil}, map[string]any{"$retainKeys": []any{"x"}}, map[string]any{"$setElementOrder/containers": []any{map[string]any{"name": "a"}}},
}

// keys are names that a field gets beside those it has.
var keys = []string{"", "unknown", "spec", "status", "metadata", "name", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "managedFields", "uid",
	"resourceVersion", "generateName", "deletionTimestamp", "kind", "apiVersion", "$patch", "$deleteFromPrimitiveList/finalizers", "a/b", strings.Repeat("k", 300)}

// nest is lists or maps, so many of them inside one another.
func nest(depth int, maps bool) (v any) {
	for range depth {
		if maps {
			v = map[string]any{"a": v}
		} else {
			v = []any{v}
		}
	}
	return v
}

// pick is one of list.
func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// mutate is tree with some of its parts changed. It shares memory with tree, which stays as it is.
func mutate(r *rand.Rand, tree any) any {
	switch v := tree.(type) {
	case map[string]any:
		out := maps.Clone(v)
		names := slices.Sorted(maps.Keys(v))
		switch n := r.IntN(10); {
		case len(names) == 0 || n == 0:
			out[pick(r, keys)] = pick(r, values)
		case n == 1:
			delete(out, pick(r, names))
		case n == 2:
			out[pick(r, names)] = pick(r, values)
		case n == 3: // a part in the place of another
			out[pick(r, names)] = v[pick(r, names)]
		case n == 4:
			out[pick(r, keys)] = v[pick(r, names)]
		default:
			name := pick(r, names)
			out[name] = mutate(r, v[name])
		}
		return out
	case []any:
		out := slices.Clone(v)
		switch n := r.IntN(8); {
		case len(v) == 0 || n == 0:
			return append(out, pick(r, values))
		case n == 1:
			return append(out, v...)
		case n == 2:
			return slices.Delete(out, 0, 1)
		case n == 3:
			for range 200 {
				out = append(out, v[0])
			}
			return out
		default:
			i := r.IntN(len(v))
			out[i] = mutate(r, v[i])
			return out
		}
	}
	return pick(r, values)
}

// damage is text with some of its bytes changed.
func damage(r *rand.Rand, text []byte) []byte {
	out := slices.Clone(text)
	for range 1 + r.IntN(4) {
		if len(out) == 0 {
			break
		}
		at := r.IntN(len(out))
		switch r.IntN(6) {
		case 5: // a part once more: keys that stand twice
			to := min(len(out), at+r.IntN(200))
			if colon := bytes.IndexByte(out[at:to], ','); colon > 0 {
				out = slices.Insert(out, at+colon, out[at:at+colon]...)
			}
		case 0:
			out[at] = byte(r.IntN(256))
		case 1:
			out = out[:at]
		case 2:
			out = slices.Insert(out, at, out[at:min(len(out), at+r.IntN(40))]...)
		case 3:
			out = slices.Insert(out, at, []byte(pick(r, []string{"{", "}", "[", "]", `"`, ",", ":", "\\u0000", "\xff", "&a ", "*a", "!!int ", "---\n", "1e99", "null"}))...)
		case 4:
			out = slices.Delete(out, at, min(len(out), at+1+r.IntN(10)))
		}
	}
	return out
}

// bombs are bodies that are small and would become large, or deep.
func bombs() map[string]string {
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		before := "*" + string(c-1)
		laughs += string(c) + ": &" + string(c) + " [" + strings.Repeat(before+",", 8) + before + "]\n"
	}
	return map[string]string{
		"laughs":        laughs,
		"merged laughs": "a: &a {b: c, d: e}\n" + strings.Repeat("x: {<<: [*a, *a, *a, *a]}\n", 1000),
		"deep lists":    `{"data":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + "}",
		"deep maps":     strings.Repeat(`{"a":`, 100000) + "1" + strings.Repeat("}", 100000),
		"open maps":     strings.Repeat(`{"a":`, 200000),
		"deep YAML":     strings.Repeat("- ", 50000) + "a",
		"flow YAML":     "data: " + strings.Repeat("{a: ", 20000),
		"more laughs":   strings.ReplaceAll(laughs, ",", ", "),
		"map laughs":    mapLaughs(),
		"number":        `{"data":{"a":1` + strings.Repeat("0", 1<<20) + `}}`,
		"exponent":      `{"metadata":{"generation":1e1000000000}}`,
		"escapes":       `{"data":{"a":"` + strings.Repeat(`\u0000`, 200000) + `"}}`,
		"owners":        `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","managedFields":[{"fieldsV1":` + strings.Repeat(`{"f:a":`, 5000) + "{}" + strings.Repeat("}", 5000) + `}]}}`,
		"patches":       "[" + strings.Repeat(`{"op":"copy","from":"/data","path":"/data/a"},`, 9000) + `{"op":"test","path":"","value":1}]`,
		"growing":       "[" + strings.Repeat(`{"op":"copy","from":"","path":"/metadata"},`, 40) + `{"op":"test","path":"","value":1}]`,
		"documents":     strings.Repeat("---\n", 200000),
		"long key":      strings.Repeat("k", 1<<20) + ": v",
		"many keys":     `{"data":{` + strings.Repeat(`"k":"v",`, 200000) + `"z":"z"}}`,
		"long string":   `{"data":{"a":"` + strings.Repeat("x", 4<<20) + `"}}`,
		"many anchors":  strings.Repeat("a: &a b\n", 50000),
		"protobuf":      "k8s\x00" + strings.Repeat("\x0a\xff\xff\xff\x7f", 1000),
	}
}

// mapLaughs is the bomb of laughs, made of maps.
func mapLaughs() string {
	out := "a: &a {x: y}\n"
	for c := 'b'; c <= 'z'; c++ {
		out += string(c) + ": &" + string(c) + " {"
		for i := range 9 {
			out += string('a'+rune(i)) + ": *" + string(c-1) + ", "
		}
		out += "}\n"
	}
	return out
}
