package node

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestHugePages(t *testing.T) {
	dir := t.TempDir()
	for name, n := range map[string]string{"hugepages-2048kB": "3\n", "hugepages-1048576kB": "0\n", "hugepages-64kB": "1\n", "other": "x"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "nr_hugepages"), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := hugePages(dir)
	if want := map[string]int64{"2Mi": 6 << 20, "1Gi": 0, "64Ki": 64 << 10}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got := (Machine{Huge: got}).HugeSizes(); !slices.Equal(got, []string{"2Mi", "64Ki"}) {
		t.Errorf("the machine has pages of %v", got)
	}
	if got, err := hugePages(filepath.Join(dir, "none")); err != nil || len(got) != 0 {
		t.Errorf("a kernel without huge pages: %v, %v", got, err)
	}
}

func TestSuits(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		m      Machine
		noSwap bool
		single *bool
		suits  bool
	}{
		{Machine{}, true, nil, true}, {Machine{Swap: 1}, false, nil, true}, {Machine{Swap: 1}, true, nil, false},
		{Machine{}, false, &no, false}, {Machine{CgroupV2: true}, false, &no, true}, {Machine{}, false, &yes, true},
	} {
		if err := c.m.Suits(c.noSwap, c.single); (err == nil) != c.suits {
			t.Errorf("%+v, fail on swap %v, one process alone %v: %v", c.m, c.noSwap, c.single, err)
		}
	}
}
