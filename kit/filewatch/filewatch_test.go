package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestChangesAreSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen, done := make(chan string, 10), make(chan error, 1)
	go func() { done <- Run(ctx, path, []byte("a"), func(data []byte) { seen <- string(data) }) }()
	want := func(content string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-seen:
			if got != content {
				t.Fatalf("got %q, want %q", got, content)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q was not seen", content)
		}
	}
	want("b", os.WriteFile(path, []byte("b"), 0o600))
	replace := func(content string) error {
		return errors.Join(os.WriteFile(path+".new", []byte(content), 0o600), os.Rename(path+".new", path))
	}
	want("c", replace("c"))
	if err := replace("c"); err != nil { // the same again is no change
		t.Fatal(err)
	}
	want("d", replace("d"))
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
