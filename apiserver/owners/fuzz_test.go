package owners

import (
	"bytes"
	"testing"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Whatever is sent as a set of fields, it is read as the library reads it, and written as the library writes it.
func FuzzSet(f *testing.F) {
	for _, s := range []string{
		`{}`, ``, `null`, `{"f:a":{}}`, `{"f:a":{".":{},"f:b":{}},"f:c":{"k:{\"name\":\"x\"}":{".":{},"f:v":{}}}}`, `{"f:a":{".":{}}}`, `{"f:b":{},"f:a":{}}`,
		`{"f:l":{"k:{\"containerPort\":443,\"protocol\":\"TCP\"}":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{}}}`, `{"f:s":{"v:\"a\"":{},"v:1":{},"v:1.50":{}}}`,
		`{"i:1":{},"q:x":{},"f:\u00e4\"\\\n":{}}`, `{"f:a":{"f:b":1}}`, `{"f:a":{}} x`, `{"k:{\"b\":1,\"a\":null}":{}}`, `{"k:{}":{}}`, `{"v:{\"a\":1}":{}}`, `{"f:a":{},"f:a":{"f:b":{}}}`,
		`{"k:{\"a\":\"<\"}":{}}`, `{".":{}}`, `{"v:01":{}}`, `{"v:-0":{}}`, `{"k:{\"a\":1,\"a\":2}":{}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var theirs fieldpath.Set
		lerr := theirs.FromJSON(bytes.NewReader(raw))
		ours, same, err := parse(raw)
		if (err == nil) != (lerr == nil) {
			t.Fatalf("the library says %v, we say %v", lerr, err)
		}
		if err != nil {
			return
		}
		want, lerr := theirs.ToJSON()
		if lerr != nil {
			return
		}
		got := appendSet(nil, ours)
		if same && !bytes.Equal(got, raw) {
			t.Errorf("%q is said to be as we write it, which is %q", raw, got)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%q is written %q, want %q", raw, got, want)
		}
	})
}

// Sets taken together and from each other are what the library makes of them.
func FuzzAlgebra(f *testing.F) {
	f.Add([]byte(`{"f:a":{".":{},"f:b":{}},"f:c":{}}`), []byte(`{"f:a":{"f:b":{},"f:d":{}}}`))
	f.Add([]byte(`{"f:a":{"k:{\"n\":1}":{},"k:{\"n\":20}":{".":{},"f:x":{}}}}`), []byte(`{"f:a":{"k:{\"n\":3}":{},"k:{\"n\":20}":{}}}`))
	f.Add([]byte(`{"f:a":{"v:\"x\"":{}}}`), []byte(`{"f:a":{}}`))
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, sameA, err1 := parse(x)
		b, sameB, err2 := parse(y)
		if err1 != nil || err2 != nil || !sameA || !sameB {
			return
		}
		var la, lb fieldpath.Set
		if la.FromJSON(bytes.NewReader(x)) != nil || lb.FromJSON(bytes.NewReader(y)) != nil {
			t.Fatal("the library cannot read it")
		}
		less, _ := minus(a, b)
		for name, pair := range map[string]struct {
			ours   set
			theirs *fieldpath.Set
		}{"union": {union(a, b), la.Union(&lb)}, "minus": {less, la.Difference(&lb)}, "without": {without(a, b), la.RecursiveDifference(&lb)}} {
			want, err := pair.theirs.ToJSON()
			if err != nil {
				t.Fatal(err)
			}
			if got := appendSet(nil, pair.ours); !bytes.Equal(got, want) {
				t.Errorf("%s of %q and %q is %q, want %q", name, x, y, got, want)
			}
		}
	})
}
