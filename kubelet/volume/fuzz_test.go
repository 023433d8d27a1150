package volume

import (
	"strings"
	"testing"
)

// FuzzUnescape: what the kernel would have written for a path is read as that path.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"/a b", `/a\040b`, `\`, `\13`, "/tab\tand\nline", `/\999`} {
		f.Add(s)
	}
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`) // seq_path(9)
	f.Fuzz(func(t *testing.T, s string) {
		unescape(s)
		if got := unescape(escape.Replace(s)); got != s {
			t.Errorf("%q was read as %q", s, got)
		}
	})
}
