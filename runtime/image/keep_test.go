package image_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/archive"
	"proa.dev/runtime/image"
)

// withImages opens a store with web:v1 and web:v2, which share a layer and no name.
func withImages(t *testing.T) (*image.Store, string) {
	t.Helper()
	roottest.Need(t, "layers are unpacked with their owners")
	root := t.TempDir()
	s := open(t, root)
	importImage(t, s, webSpec("v1"))
	v2 := webSpec("v2")
	v2.Layers[1][0].Content = []byte("two")
	importImage(t, s, v2)
	return s, root
}

func has(s *image.Store, ref string) bool {
	_, err := s.Get(ref)
	return err == nil
}

func TestRemoveFreesWhatNobodyNeeds(t *testing.T) {
	s, root := withImages(t)
	before, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := s.Prepare(t.Context(), "c1", "proa/web:v1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Remove(t.Context(), "proa/web:v1"); err != nil {
			t.Fatal(err)
		}
	}
	if has(s, "proa/web:v1") || !has(s, "proa/web:v2") {
		t.Error("the wrong image was removed")
	}
	if b, err := os.ReadFile(filepath.Join(fs.Lower[0], "etc/passwd")); string(b) != "root:x" {
		t.Errorf("a running container lost its layer: %q, %v", b, err)
	}
	if err := s.Release(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fs.Lower[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("layer of the removed image: %v; want it gone", err)
	}
	after, err := s.Usage()
	if err != nil || after.Bytes >= before.Bytes {
		t.Errorf("usage %d, was %d, %v; want less", after.Bytes, before.Bytes, err)
	}
	s = open(t, root)
	if _, err := s.Prepare(t.Context(), "c2", "proa/web:v2"); err != nil {
		t.Errorf("the other image: %v", err)
	}
}

func TestTagsMove(t *testing.T) {
	s, root := withImages(t)
	one, err := s.Get("proa/web:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag("proa/web:v1", "proa/web:stable"); err != nil {
		t.Fatal(err)
	}
	if err := s.Tag("proa/web:v2", "proa/web:stable"); err != nil {
		t.Fatal(err)
	}
	s = open(t, root)
	two, err := s.Get("proa/web:stable")
	if err != nil || two.ID == one.ID {
		t.Errorf("stable is %s, %v; want the second image", two.ID, err)
	}
	if err := s.Untag("proa/web:v1"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(one.ID)
	if err != nil || len(got.Tags) != 0 {
		t.Errorf("image without tags: %+v, %v", got, err)
	}
	for _, bad := range []string{"UPPER", "a@" + one.ID} {
		if err := s.Tag("proa/web:v2", bad); err == nil {
			t.Errorf("Tag took %q", bad)
		}
	}
	if freed, err := s.Prune(t.Context(), false); err != nil || !cmp.Equal(freed.Images, []string{one.ID}) || freed.Blobs == 0 || freed.Layers == 0 {
		t.Errorf("Prune = %+v, %v; want the image without tags", freed, err)
	}
	if freed, err := s.Prune(t.Context(), true); err != nil || len(freed.Images) != 1 || len(s.List()) != 0 {
		t.Errorf("Prune of all = %+v, %v", freed, err)
	}
}

func TestPinnedImagesStay(t *testing.T) {
	roottest.Need(t, "layers are unpacked with their owners")
	s, err := image.Open(image.Config{Root: t.TempDir(), Pinned: []string{"proa/web:v1"}})
	if err != nil {
		t.Fatal(err)
	}
	importImage(t, s, webSpec("v1"))
	importImage(t, s, webSpec("v2"))
	if freed, err := s.Prune(t.Context(), true); err != nil || len(freed.Images) != 1 || !has(s, "proa/web:v1") {
		t.Errorf("Prune = %+v, %v; want v2 alone removed", freed, err)
	}
}

// TestImportedImagesArePinned: kubelet's garbage collection asks before it removes, and nobody could pull them again.
func TestImportedImagesArePinned(t *testing.T) {
	_, root := withImages(t)
	s := open(t, root)
	if im, err := s.Get("proa/web:v1"); err != nil || !im.Pinned {
		t.Errorf("imported image: %+v, %v; want it pinned", im, err)
	}
	if err := s.Tag("proa/web:v2", "proa/web:v1"); err != nil {
		t.Fatal(err)
	}
	if im := s.List()[0]; im.Pinned || len(im.Tags) > 0 {
		t.Errorf("an image that lost its name is still pinned: %+v", im)
	}
}

func TestExport(t *testing.T) {
	s, _ := withImages(t)
	var b bytes.Buffer
	if err := s.Export(t.Context(), &b, "proa/web:v1", "proa/web:v2"); err != nil {
		t.Fatal(err)
	}
	other := open(t, t.TempDir())
	names, err := other.Import(t.Context(), &b)
	if want := []string{"docker.io/proa/web:v1", "docker.io/proa/web:v2"}; err != nil || !cmp.Equal(names, want) {
		t.Errorf("Import of what was exported = %q, %v; want %q", names, err, want)
	}
	for _, ref := range names {
		a, _, _ := s.Config(t.Context(), ref)
		b, _, _ := other.Config(t.Context(), ref)
		if a != b {
			t.Errorf("%s changed its ID: %s, %s", ref, a, b)
		}
	}
	if err := s.Export(t.Context(), &b, "absent"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("Export of an absent image: %v", err)
	}
}

// TestImportWhileCollecting brings images in and removes others at the same time: nothing that is needed may go.
func TestImportWhileCollecting(t *testing.T) {
	s, _ := withImages(t)
	var archives [4][]byte
	for i := range archives {
		archives[i] = build(t, webSpec(fmt.Sprintf("c%d", i)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var collectors, importers sync.WaitGroup
	collectors.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.Prune(context.Background(), false); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range archives {
		importers.Go(func() {
			for range 10 {
				names, err := s.Import(context.Background(), bytes.NewReader(archives[i]))
				if err != nil {
					t.Error(err)
					return
				}
				key := fmt.Sprintf("c%d", i)
				if _, err := s.Prepare(context.Background(), key, names[0]); err != nil {
					t.Error(err)
				}
				err = errors.Join(s.Release(context.Background(), key), s.Remove(context.Background(), names[0]))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	importers.Wait()
	cancel()
	collectors.Wait()
	if _, err := s.Prepare(t.Context(), "last", "proa/web:v1"); err != nil {
		t.Error(err)
	}
}

func TestLostLayerComesBack(t *testing.T) {
	_, root := withImages(t)
	layers, err := filepath.Glob(filepath.Join(root, "snapshots/layers/*"))
	if err != nil || len(layers) == 0 {
		t.Fatalf("layers: %v, %v", layers, err)
	}
	for _, dir := range layers {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, root)
	fs, err := s.Prepare(t.Context(), "c", "proa/web:v1")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(fs.Lower[1], "bin/web")); string(b) != "web" {
		t.Errorf("bin/web = %q, %v", b, err)
	}
}

func TestTwoProcesses(t *testing.T) {
	if root := os.Getenv("PROA_TEST_IMAGE_STORE"); root != "" {
		_, err := image.Open(image.Config{Root: root})
		fmt.Println("second process:", err)
		return
	}
	root := t.TempDir()
	open(t, root)
	open(t, root) // the same process may
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTwoProcesses$")
	cmd.Env = append(os.Environ(), "PROA_TEST_IMAGE_STORE="+root)
	out, err := cmd.CombinedOutput()
	want := fmt.Sprintf("second process: image store %s is in use by process %d", root, os.Getpid())
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("second process says %q, %v; want %q", out, err, want)
	}
}

func TestBrokenTableIsAnError(t *testing.T) {
	_, root := withImages(t)
	if err := os.WriteFile(filepath.Join(root, "images.json"), []byte(`{"images":[{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := image.Open(image.Config{Root: root}); err == nil || !strings.Contains(err.Error(), "images.json") {
		t.Errorf("Open: %v; want an error that names the file", err)
	}
}

// smallDisk is a file system of the given size that nobody else sees, as a path.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.FsconfigSetString(fd, "size", size); err != nil {
		t.Fatal(err)
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		t.Fatal(err)
	}
	disk, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(disk) })
	return fmt.Sprintf("/proc/self/fd/%d", disk)
}

func TestFullDisk(t *testing.T) {
	roottest.Need(t, "a small file system is mounted")
	root := smallDisk(t, "8m")
	s := open(t, root)
	importImage(t, s, webSpec("v1"))
	huge := webSpec("huge")
	body := bytes.Repeat([]byte("x"), 6<<20) // fits once, as a blob, and not again, unpacked
	huge.Layers = append(huge.Layers, []archive.File{{Path: "x", Mode: 0o644, Content: body}})
	_, err := s.Import(t.Context(), bytes.NewReader(build(t, huge)))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), `unpack "x"`) {
		t.Errorf("Import to a full disk: %v; want no space left, and where", err)
	}
	if has(s, "proa/web:huge") || !has(s, "proa/web:v1") {
		t.Error("the table is wrong after a full disk")
	}
	if _, err := s.Prune(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	s = open(t, root)
	importImage(t, s, webSpec("v2"))
	if _, err := s.Prepare(t.Context(), "c", "proa/web:v2"); err != nil {
		t.Error(err)
	}
}
