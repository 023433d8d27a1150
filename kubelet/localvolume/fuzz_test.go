package localvolume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRecord: whatever a volume is called and whatever is written of it, nothing outside of the directory is touched.
func FuzzRecord(f *testing.F) {
	f.Add("pvc-1", []byte(`{"bytes":1073741824}`))
	f.Add("../outside", []byte(`null`))
	f.Add("..", []byte(`{"bytes":-1,"project":4294967295}`))
	f.Add("a\x00b", []byte(`[]`))
	top := f.TempDir()
	outside := filepath.Join(top, "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id string, text []byte) {
		s, err := openStore(filepath.Join(top, "volumes"))
		if err != nil {
			t.Fatal(err)
		}
		s.quotas = false
		if valid(id) {
			if err := os.WriteFile(s.path(id)+".json", text, 0o600); err != nil && !strings.Contains(err.Error(), "invalid argument") {
				t.Fatal(err)
			}
		}
		if _, err := s.find(id); err == nil {
			if _, err := s.make(id, 1, false); err != nil {
				t.Error(err)
			}
		}
		if err := s.remove(id); err == nil && valid(id) {
			if _, err := os.Lstat(s.path(id)); err == nil {
				t.Errorf("%q is still there", id)
			}
		}
		os.Remove(s.path(id) + ".json")
		if _, err := os.Stat(outside); err != nil {
			t.Fatal(err)
		}
	})
}
