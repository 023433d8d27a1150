package spec

import (
	"io/fs"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
)

func TestParseEnvFile(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"K='v'", "v", ""},
		{"# c\n\n \t\nA='1'\n  K='two words' # why\nB='x'", "two words", ""},
		{"K='a\nb\n\nc'\n", "a\nb\n\nc", ""},
		{`K='$HOME "x" \n'`, `$HOME "x" \n`, ""},
		{"K='a'\r\nB='b'\r\n", "a", ""},
		{"K= 'v'", "", ""},
		{"A='1'", "", ""},
		{"K=''", "", ""},
		{"K='1'\nbroken", "1", ""}, // what stands after it is not looked at
		{"A='1'\nbroken", "", "line 2: missing '='"},
		{"='1'", "", "line 1: empty variable name"},
		{"K ='1'", "", "line 1: whitespace before '=' is not allowed"},
		{"K=1", "", "line 1: value must be enclosed in single quotes"},
		{`K="1"`, "", "line 1: value must be enclosed in single quotes"},
		{"K='1' x", "", "line 1: unexpected content after closing quote"},
		{"A='1'\nK='1\n2", "", "starting at line 2: unclosed single quote"},
	} {
		got, err := parseEnvFile(c.text, "K")
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %q, %v; want %q, %s", c.text, got, err, c.want, c.err)
		}
	}
}

func FuzzParseEnvFile(f *testing.F) {
	f.Add("A='1'\nK='x\ny' # z\n")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := parseEnvFile(text, "K"); err != nil && v != "" || strings.Contains(v, "'") {
			t.Errorf("%q, %v", v, err)
		}
	})
}

// folder is what a volume holds.
type folder struct {
	EnvSources
	files map[string]string
}

func (f folder) File(_ *core.Pod, volume, path string) ([]byte, error) {
	text, ok := f.files[volume+"/"+path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func TestFromFile(t *testing.T) {
	yes := true
	src := folder{files: map[string]string{"v/e": "K='v'", "v/bad": "K"}}
	for _, c := range []struct {
		path, key string
		optional  *bool
		want, err string
	}{
		{"e", "K", nil, "v", ""},
		{"e", "X", nil, "", `environment variable key "X" not found in file "e"`},
		{"e", "X", &yes, "", ""},
		{"none", "K", &yes, "", ""},
		{"none", "K", nil, "", `environment file "none" of volume "v" can not be read`},
		{"bad", "K", &yes, "", "couldn't parse env file: "},
	} {
		got, ok, err := fromFile(src, &core.Pod{}, &core.FileKeySelector{VolumeName: "v", Path: c.path, Key: c.key, Optional: c.optional})
		if got != c.want || ok != (c.want != "") || (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%+v: %q, %v, %v", c, got, ok, err)
		}
	}
}
