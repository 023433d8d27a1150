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
	"proa.dev/runtime/registry"
)

// Bounds on one pull.
const (
	parallelBlobs = 4
	// blobTries is how often a blob may break off without having brought a single byte.
	blobTries = 4
)

// fetcher downloads the blobs of one image.
type fetcher struct {
	blobs *content.Store
	repo  *registry.Repository
	lease *content.Lease
	ref   string
	got   atomic.Int64 // bytes that came over the network

	mu     sync.Mutex // guards now, and makes one call of report at a time
	now    Progress
	report func(Progress)
}

// all fetches configuration and layers that are not here, some at a time.
func (f *fetcher) all(ctx context.Context, m ocispec.Manifest) error {
	blobs := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	f.now.Ref = f.ref
	seen := make(map[digest.Digest]bool)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelBlobs)
	for _, d := range blobs {
		if strings.Contains(d.MediaType, "nondistributable") || strings.Contains(d.MediaType, "foreign") {
			return fmt.Errorf("layer %s may not be distributed by registries (%s)", d.Digest, d.MediaType)
		}
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		f.now.Total += d.Size
	}
	f.progress(0)
	for _, d := range blobs {
		if !seen[d.Digest] {
			continue
		}
		seen[d.Digest] = false
		if f.lease.Hold(d.Digest) {
			f.progress(d.Size)
			continue
		}
		group.Go(func() error { return f.blob(ctx, d) })
	}
	return group.Wait()
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
