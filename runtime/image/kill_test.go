package image_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/archive"
	"proa.dev/runtime/image"
)

// victim is an image that takes a while to import: some layers of some files each.
func victim() archive.Spec {
	spec := archive.Spec{Names: []string{"victim:1"}}
	for i := range 6 {
		var files []archive.File
		for j := range 40 {
			body := bytes.Repeat(fmt.Appendf(nil, "%d.%d ", i, j), 2000)
			files = append(files, archive.File{Path: fmt.Sprintf("l%d/f%d", i, j), Mode: 0o644, Content: body})
		}
		spec.Layers = append(spec.Layers, files)
	}
	return spec
}

// TestKilledAtAnyMoment imports and removes an image in a process that is killed again and again. After each death the
// store opens, every image it lists is whole, and what was left half done goes away. A store belongs to one process, so
// another one looks after each death.
func TestKilledAtAnyMoment(t *testing.T) {
	roottest.Need(t, "layers are unpacked with their owners")
	switch root := os.Getenv("PROA_TEST_VICTIM"); os.Getenv("PROA_TEST_ROLE") {
	case "victim":
		importForEver(root)
	case "coroner":
		check(t, root)
		return
	}
	dir := t.TempDir()
	root, tar := filepath.Join(dir, "store"), filepath.Join(dir, "victim.tar")
	if _, err := archive.BuildFile(tar, victim()); err != nil {
		t.Fatal(err)
	}
	process := func(role string) (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledAtAnyMoment$")
		cmd.Env = append(os.Environ(), "PROA_TEST_ROLE="+role, "PROA_TEST_VICTIM="+root, "PROA_TEST_TAR="+tar)
		out := new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, out
		return cmd, out
	}
	for i := range 12 {
		cmd, out := process("victim")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Long enough to start; then every moment of an import gets its turn.
		time.AfterFunc(time.Duration(30+i*21)*time.Millisecond, func() { cmd.Process.Kill() })
		cmd.Wait() // killed, as it should be
		if out.Len() > 0 {
			t.Fatalf("the victim says: %s", out)
		}
		cmd, out = process("coroner")
		if err := cmd.Run(); err != nil {
			t.Fatalf("after death %d: %v\n%s", i, err, out)
		}
	}
	s := open(t, root)
	if _, err := s.Prune(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"content/blobs/*/*", "content/ingest/*", "snapshots/layers/*", "snapshots/active/*"} {
		if left, err := filepath.Glob(filepath.Join(root, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left after Prune: %v, %v", left, err)
		}
	}
}

// importForEver is the process that gets killed. It prints what goes wrong.
func importForEver(root string) {
	tar, err := os.ReadFile(os.Getenv("PROA_TEST_TAR"))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	s, err := image.Open(image.Config{Root: root})
	for i := 0; err == nil; i++ {
		if _, err = s.Import(ctx, bytes.NewReader(tar)); err == nil {
			_, err = s.Prepare(ctx, fmt.Sprint("k", i), "victim:1")
		}
		if err == nil {
			err = s.Release(ctx, fmt.Sprint("k", i))
		}
		if err == nil && i%2 == 1 {
			err = s.Remove(ctx, "victim:1")
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// check opens the store after a death and looks at every file of the image, if it is listed.
func check(t *testing.T, root string) {
	t.Helper()
	s := open(t, root)
	for _, key := range s.Prepared() {
		if err := s.Release(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	for _, im := range s.List() {
		fs, err := s.Prepare(t.Context(), "check", im.ID)
		if err != nil {
			t.Fatal(err)
		}
		for i, layer := range victim().Layers {
			for _, f := range layer {
				b, err := os.ReadFile(filepath.Join(fs.Lower[len(fs.Lower)-1-i], f.Path))
				if err != nil || !bytes.Equal(b, f.Content) {
					t.Fatalf("%s has %d bytes, %v; want %d", f.Path, len(b), err, len(f.Content))
				}
			}
		}
		if err := s.Release(t.Context(), "check"); err != nil {
			t.Error(err)
		}
	}
}
