package keeper_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/oci/ocitest"
)

// A keeper that refuses its setup may be gone before anybody can look at its namespaces. What it said is the reason then, not
// that it was gone.
func TestSpawnNamesTheKeepersOwnReason(t *testing.T) {
	roottest.Need(t, "namespaces")
	bin, err := keeper.OpenBinary(ocitest.KeeperPath(t))
	if err != nil {
		t.Fatal(err)
	}
	defer bin.Close()
	setup := wire.Setup{ID: "x", Dir: filepath.Join(t.TempDir(), "k"), Loopback: true, Sysctls: []wire.KeyValue{{Key: "kernel.nonsense", Value: "1"}}}
	_, err = bin.Spawn(t.Context(), keeper.Spec{Setup: setup}, func(pid int) error {
		awaitZombie(t, pid)
		return errors.New("its namespace is gone")
	})
	if err == nil || !strings.Contains(err.Error(), "sysctl kernel.nonsense") {
		t.Errorf("keeper that refused its setup: %v", err)
	}

	setup.Dir, setup.Sysctls = filepath.Join(t.TempDir(), "k"), nil
	_, err = bin.Spawn(t.Context(), keeper.Spec{Setup: setup}, func(int) error { return errors.New("no address") })
	if err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("keeper without a network: %v", err)
	}
}

// awaitZombie returns when the process has ended and nobody has waited for it yet.
func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, ok := bytes.Cut(stat, []byte(") ")); ok && rest[0] == 'Z' {
			return
		}
	}
	t.Fatal("the keeper did not end")
}
