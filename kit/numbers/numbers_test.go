package numbers

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("MemTotal:    16 kB\nHugePages_Total: 3\nInactive(file): 1 kB\nlow 7\nusage_usec max\nalone\n\ncpu 1 2 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(Read(file)), "map[HugePages_Total:3 Inactive(file):1024 MemTotal:16384 cpu:1 low:7]"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if got := Read(file + "x"); len(got) != 0 {
		t.Error(got)
	}
}
