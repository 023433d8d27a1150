package content

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Writer takes the bytes of one blob. It belongs to one goroutine and ends with Commit or Close, whichever comes first.
type Writer struct {
	store *Store
	want  ocispec.Descriptor // Digest is empty when not known; Size is negative when not known
	f     *os.File
	hash  hash.Hash
	alg   digest.Algorithm
	n     int64
	done  chan struct{} // this writer's entry in store.busy
	ended bool
}

// Ingest starts or continues to write the blob that d announces. It waits while another writer has the same blob. When
// the whole blob is here already it returns nil and no error: there is nothing to write.
func (s *Store) Ingest(ctx context.Context, d ocispec.Descriptor) (*Writer, error) {
	if _, err := s.path(d.Digest); err != nil {
		return nil, err
	}
	done, err := s.claim(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	w := &Writer{store: s, want: d, alg: d.Digest.Algorithm(), done: done}
	if s.Has(d.Digest) {
		w.finish()
		return nil, nil
	}
	if err := w.open(); err != nil {
		w.finish()
		return nil, fmt.Errorf("ingest %s: %w", d.Digest, err)
	}
	return w, nil
}

// IngestNew starts to write a blob whose digest is known only when it is whole.
func (s *Store) IngestNew() (*Writer, error) {
	f, err := os.CreateTemp(filepath.Join(s.root, "ingest"), "new-")
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return &Writer{store: s, want: ocispec.Descriptor{Size: -1}, alg: digest.SHA256, f: f, hash: digest.SHA256.Hash()}, nil
}

// claim makes the caller the only writer of d, waiting for its turn.
func (s *Store) claim(ctx context.Context, d digest.Digest) (chan struct{}, error) {
	for {
		s.mu.Lock()
		other, busy := s.busy[d]
		if !busy {
			mine := make(chan struct{})
			s.busy[d] = mine
			s.mu.Unlock()
			return mine, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for blob %s: %w", d, ctx.Err())
		}
	}
}

// open opens the partial file and hashes what is there already.
func (w *Writer) open() error {
	name := filepath.Join(w.store.root, "ingest", w.alg.String()+"-"+w.want.Digest.Encoded())
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	w.f, w.hash = f, w.alg.Hash()
	n, err := io.Copy(w.hash, f)
	if err == nil && w.want.Size >= 0 && n > w.want.Size {
		n, err = 0, w.Restart()
	}
	w.n = n
	if err != nil {
		f.Close()
	}
	return err
}

// Offset is the number of bytes the blob has so far: where to go on.
func (w *Writer) Offset() int64 { return w.n }

// Digest is the digest of what was written so far: before Commit, so that a lease can hold the blob from its first moment.
func (w *Writer) Digest() digest.Digest { return digest.NewDigest(w.alg, w.hash) }

// Restart throws away what was written, for a source that can not continue in the middle.
func (w *Writer) Restart() error {
	w.hash.Reset()
	w.n = 0
	if err := w.f.Truncate(0); err != nil {
		return err
	}
	_, err := w.f.Seek(0, io.SeekStart)
	return err
}

// Write appends to the blob. More bytes than announced are ErrSize.
func (w *Writer) Write(p []byte) (int, error) {
	if w.want.Size >= 0 && w.n+int64(len(p)) > w.want.Size {
		return 0, fmt.Errorf("blob %s: %w: more than %d bytes", w.want.Digest, ErrSize, w.want.Size)
	}
	n, err := w.f.Write(p)
	w.hash.Write(p[:n])
	w.n += int64(n)
	return n, err
}

// ReadFrom is Write for all of r, in large steps.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 256<<10))
}

// Commit verifies the blob, makes it durable and publishes it. A short blob is ErrSize and stays for another try; wrong
// bytes are ErrDigest and are thrown away.
func (w *Writer) Commit() (ocispec.Descriptor, error) {
	if w.ended {
		return ocispec.Descriptor{}, errors.New("commit a closed blob")
	}
	if w.want.Size >= 0 && w.n < w.want.Size {
		err := fmt.Errorf("blob %s: %w: %d of %d bytes", w.want.Digest, ErrSize, w.n, w.want.Size)
		return ocispec.Descriptor{}, errors.Join(err, w.Close())
	}
	got := ocispec.Descriptor{
		MediaType: w.want.MediaType,
		Digest:    digest.NewDigest(w.alg, w.hash),
		Size:      w.n,
	}
	if w.want.Digest != "" && got.Digest != w.want.Digest {
		err := fmt.Errorf("blob %s: %w: the bytes have %s", w.want.Digest, ErrDigest, got.Digest)
		return ocispec.Descriptor{}, errors.Join(err, w.Discard())
	}
	if err := w.publish(got.Digest); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("publish blob %s: %w", got.Digest, err)
	}
	return got, nil
}

func (w *Writer) publish(d digest.Digest) error {
	defer w.finish()
	path, err := w.store.path(d)
	if err != nil {
		return err
	}
	if err := errors.Join(w.f.Chmod(0o400), w.f.Sync(), w.f.Close()); err != nil {
		return errors.Join(err, os.Remove(w.f.Name()))
	}
	if err := os.Rename(w.f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Close ends the writer without publishing. A blob of known digest keeps its first part for the next Ingest. After Commit
// it does nothing, so it can be deferred.
func (w *Writer) Close() error {
	if w.ended {
		return nil
	}
	if w.want.Digest == "" {
		return w.Discard()
	}
	defer w.finish()
	return w.f.Close()
}

// Discard ends the writer and removes what was written.
func (w *Writer) Discard() error {
	if w.ended {
		return nil
	}
	defer w.finish()
	return errors.Join(w.f.Close(), os.Remove(w.f.Name()))
}

// finish lets the next writer of the same blob go on.
func (w *Writer) finish() {
	w.ended = true
	if w.done == nil {
		return
	}
	w.store.mu.Lock()
	delete(w.store.busy, w.want.Digest)
	w.store.mu.Unlock()
	close(w.done)
}

// Put stores a small blob at once and returns its descriptor.
func (s *Store) Put(ctx context.Context, mediaType string, b []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	w, err := s.Ingest(ctx, d)
	if err != nil || w == nil {
		return d, err
	}
	defer w.Close()
	if err := w.Restart(); err != nil {
		return d, err
	}
	if _, err := w.Write(b); err != nil {
		return d, err
	}
	_, err = w.Commit()
	return d, err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
