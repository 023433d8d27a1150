package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"proa.dev/runtime/content"
	"proa.dev/runtime/manifest"
	"proa.dev/runtime/registry"
	"proa.dev/runtime/snapshot"
)

// Bounds on one pull.
const (
	parallelBlobs = 4
	// blobTries is how often a blob may break off without having brought a single byte.
	blobTries = 4
)

// fetcher downloads the blobs of one image.
type fetcher struct {
	blobs  *content.Store
	repo   *registry.Repository
	lease  *content.Lease
	report func(Progress)
	got    atomic.Int64                    // bytes that came over the network
	here   map[digest.Digest]chan struct{} // closed when the blob is here

	mu  sync.Mutex // guards now, and makes one call of report at a time
	now Progress
}

// bring downloads an image and unpacks each layer as soon as it is here. The layers are held until release is called.
func (s *Store) bring(ctx context.Context, f *fetcher, m ocispec.Manifest) (release func(), err error) {
	for _, d := range m.Layers {
		if strings.Contains(d.MediaType, "nondistributable") || strings.Contains(d.MediaType, "foreign") {
			return nil, fmt.Errorf("layer %s may not be distributed by registries (%s)", d.Digest, d.MediaType)
		}
	}
	f.expect(m)
	if err := f.one(ctx, m.Config); err != nil {
		return nil, err
	}
	b, err := s.blobs.Read(m.Config.Digest, manifest.MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	cfg, err := manifest.ParseConfig(b, len(m.Layers))
	if err != nil {
		return nil, err
	}
	release = s.snaps.Hold(snapshot.Top(cfg.RootFS.DiffIDs))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.layers(ctx, m.Layers) })
	group.Go(func() error {
		layers := make([]snapshot.Layer, len(m.Layers))
		for i, d := range m.Layers {
			layers[i] = snapshot.Layer{
				DiffID: cfg.RootFS.DiffIDs[i],
				Open:   func() (io.ReadCloser, error) { return f.open(ctx, d.Digest) },
			}
		}
		_, err := s.snaps.Unpack(ctx, layers)
		return err
	})
	if err := group.Wait(); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// expect adds up what there is to come.
func (f *fetcher) expect(m ocispec.Manifest) {
	f.here = make(map[digest.Digest]chan struct{})
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if f.here[d.Digest] == nil {
			f.here[d.Digest] = make(chan struct{})
			f.now.Total += d.Size
		}
	}
	f.progress(0)
}

// layers fetches the layers that are not here, some at a time.
func (f *fetcher) layers(ctx context.Context, layers []ocispec.Descriptor) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelBlobs)
	asked := make(map[digest.Digest]bool)
	for _, d := range layers {
		if !asked[d.Digest] {
			asked[d.Digest] = true
			group.Go(func() error { return f.one(ctx, d) })
		}
	}
	return group.Wait()
}

// one makes sure that a blob is here.
func (f *fetcher) one(ctx context.Context, d ocispec.Descriptor) error {
	if f.lease.Hold(d.Digest) {
		f.progress(d.Size)
	} else if err := f.blob(ctx, d); err != nil {
		return err
	}
	select {
	case <-f.here[d.Digest]: // a layer that is the configuration as well: nonsense, but no reason to panic
	default:
		close(f.here[d.Digest])
	}
	return nil
}

// open waits for a blob.
func (f *fetcher) open(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	select {
	case <-f.here[d]:
		return f.blobs.Open(d)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fetcher) progress(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now.Done += n
	f.report(f.now)
}

// blob fetches one blob, going on after breaks as long as each attempt brings something.
func (f *fetcher) blob(ctx context.Context, d ocispec.Descriptor) error {
	w, err := f.blobs.Ingest(ctx, d)
	if err != nil {
		return err
	}
	if w == nil {
		f.progress(d.Size)
		return nil
	}
	defer w.Close()
	resumed := w.Offset() > 0
	f.progress(w.Offset())
	if err := f.fill(ctx, w, d); err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	_, err = w.Commit()
	if errors.Is(err, content.ErrDigest) && resumed {
		// The part from before may be the wrong one: it is gone now, and all of it comes again.
		f.progress(-d.Size)
		return f.blob(ctx, d)
	}
	return err
}

func (f *fetcher) fill(ctx context.Context, w *content.Writer, d ocispec.Descriptor) error {
	for tries := 0; w.Offset() < d.Size; {
		before := w.Offset()
		body, offset, err := f.repo.Blob(ctx, d, before)
		if err != nil {
			return err // the registry client has tried again
		}
		if offset != before {
			f.progress(-before)
			before = 0
			err = w.Restart()
		}
		if err == nil {
			_, err = io.Copy(w, countReader{body, f})
		}
		body.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, content.ErrSize) {
			return err
		}
		if w.Offset() > before {
			tries = 0
			continue
		}
		if tries++; tries == blobTries {
			return errors.Join(err, fmt.Errorf("download broke off at %d of %d bytes", w.Offset(), d.Size))
		}
	}
	return nil
}

// countReader reports what passes.
type countReader struct {
	r io.Reader
	f *fetcher
}

func (c countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.f.got.Add(int64(n))
	if n > 0 {
		c.f.progress(int64(n))
	}
	return n, err
}
