package strictyaml

import "testing"

func TestMistakesNameFileAndLine(t *testing.T) {
	type inner struct {
		B int `yaml:"b"`
	}
	for text, want := range map[string]string{
		"a: {b: 1}\n": "", "a:\n  c: 1\n": `f.yaml:2: unknown key "c"`, "": "f.yaml: it is empty", "a: {}\n---\na: {}\n": "f.yaml: more than one document",
		"a:\n  b: x\n": "f.yaml:2: cannot unmarshal !!str `x` into int", "a: [\n": "f.yaml:1: did not find expected node content", `{"a":{"b":1}}`: "",
	} {
		var out struct {
			A inner `yaml:"a"`
		}
		got := ""
		if err := Decode("f.yaml", []byte(text), &out); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
