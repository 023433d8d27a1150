package content_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/content"
)

func open(t *testing.T) (*content.Store, string) {
	t.Helper()
	root := t.TempDir()
	s, err := content.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s, root
}

func desc(b string) ocispec.Descriptor {
	return ocispec.Descriptor{Digest: digest.FromString(b), Size: int64(len(b))}
}

func TestPutAndRead(t *testing.T) {
	s, _ := open(t)
	d, err := s.Put(t.Context(), ocispec.MediaTypeImageManifest, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Read(d.Digest, 5)
	if err != nil || string(got) != "hello" {
		t.Fatalf("Read = %q, %v; want hello", got, err)
	}
	if _, err := s.Read(d.Digest, 4); !errors.Is(err, content.ErrTooLarge) {
		t.Errorf("Read beyond the limit: %v; want ErrTooLarge", err)
	}
	if _, err := s.Open(digest.FromString("other")); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("Open of a missing blob: %v; want ErrNotFound", err)
	}
	if _, err := s.Open("sha256:../../../etc/passwd"); err == nil {
		t.Error("Open took a path for a digest")
	}
}

func TestSpoiltBlobIsRemoved(t *testing.T) {
	s, root := open(t)
	d, err := s.Put(t.Context(), "", []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "blobs/sha256", d.Digest.Encoded())
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("hellO"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(d.Digest, 100); !errors.Is(err, content.ErrDigest) || s.Has(d.Digest) {
		t.Errorf("Read of a spoilt blob: %v, still there %t; want ErrDigest, false", err, s.Has(d.Digest))
	}
}

func TestWrongBytesAreRefusedAndGone(t *testing.T) {
	s, root := open(t)
	w, err := s.Ingest(t.Context(), desc("right"))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "wrong")
	_, err = w.Commit()
	if !errors.Is(err, content.ErrDigest) || !strings.Contains(err.Error(), digest.FromString("wrong").String()) ||
		!strings.Contains(err.Error(), digest.FromString("right").String()) {
		t.Fatalf("Commit: %v; want ErrDigest naming both digests", err)
	}
	left, _ := filepath.Glob(filepath.Join(root, "ingest", "*"))
	if len(left) != 0 || s.Has(digest.FromString("right")) {
		t.Errorf("wrong bytes are still there: %v", left)
	}
}

func TestTooManyBytes(t *testing.T) {
	s, _ := open(t)
	w, err := s.Ingest(t.Context(), desc("short"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := io.WriteString(w, "short and more"); !errors.Is(err, content.ErrSize) {
		t.Errorf("Write: %v; want ErrSize", err)
	}
}

func TestResumeOverRestart(t *testing.T) {
	s, root := open(t)
	w, err := s.Ingest(t.Context(), desc("first and second"))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "first ")
	if _, err := w.Commit(); !errors.Is(err, content.ErrSize) {
		t.Fatalf("Commit of a part: %v; want ErrSize", err)
	}
	s, err = content.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	w, err = s.Ingest(t.Context(), desc("first and second"))
	if err != nil {
		t.Fatal(err)
	}
	if w.Offset() != 6 {
		t.Fatalf("Offset = %d; want 6", w.Offset())
	}
	io.WriteString(w, "and second")
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if w, err := s.Ingest(t.Context(), desc("first and second")); w != nil || err != nil {
		t.Errorf("Ingest of a blob that is here = %v, %v; want nil, nil", w, err)
	}
}

func TestUnknownDigest(t *testing.T) {
	s, root := open(t)
	w, err := s.IngestNew()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "layer")
	d, err := w.Commit()
	if err != nil || d.Digest != digest.FromString("layer") || d.Size != 5 {
		t.Fatalf("Commit = %v, %v", d, err)
	}
	w, err = s.IngestNew()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "lost")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(filepath.Join(root, "ingest"))
	if len(left) != 0 {
		t.Errorf("left in ingest: %v", left)
	}
}

func TestOneWriterPerBlob(t *testing.T) {
	s, _ := open(t)
	const blob = "many want to write this"
	var wg sync.WaitGroup
	var mu sync.Mutex
	wrote := 0
	for range 8 {
		wg.Go(func() {
			w, err := s.Ingest(context.Background(), desc(blob))
			if err != nil {
				t.Error(err)
				return
			}
			if w == nil {
				return
			}
			defer w.Close()
			io.WriteString(w, blob[w.Offset():])
			if _, err := w.Commit(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			wrote++
			mu.Unlock()
		})
	}
	wg.Wait()
	if wrote != 1 {
		t.Errorf("%d writers wrote the blob; want 1", wrote)
	}
}

func TestWaitingForABlobEndsWithTheContext(t *testing.T) {
	s, _ := open(t)
	w, err := s.Ingest(t.Context(), desc("slow"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Ingest(ctx, desc("slow")); !errors.Is(err, context.Canceled) {
		t.Errorf("Ingest: %v; want canceled", err)
	}
}

func TestCollect(t *testing.T) {
	s, _ := open(t)
	keep, _ := s.Put(t.Context(), "", []byte("keep"))
	drop, _ := s.Put(t.Context(), "", []byte("drop"))
	held, _ := s.Put(t.Context(), "", []byte("held"))
	lease := s.Lease()
	if !lease.Hold(held.Digest) {
		t.Error("Hold does not see the blob")
	}
	freed, err := s.Collect(t.Context(), func(d digest.Digest) bool { return d == keep.Digest })
	if err != nil || freed != (content.Usage{Blobs: 1, Bytes: 4}) {
		t.Fatalf("Collect = %+v, %v; want 1 blob of 4 bytes", freed, err)
	}
	if !s.Has(keep.Digest) || !s.Has(held.Digest) || s.Has(drop.Digest) {
		t.Error("Collect removed the wrong blobs")
	}
	lease.Release()
	lease.Release()
	if _, err := s.Collect(t.Context(), func(d digest.Digest) bool { return d == keep.Digest }); err != nil {
		t.Fatal(err)
	}
	if u, err := s.Usage(); err != nil || u != (content.Usage{Blobs: 1, Bytes: 4}) {
		t.Errorf("Usage = %+v, %v; want the kept blob alone", u, err)
	}
}
