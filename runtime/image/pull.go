package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/content"
	"proa.dev/runtime/manifest"
	"proa.dev/runtime/reference"
	"proa.dev/runtime/registry"
)

// Auth is credentials for a registry.
type Auth = registry.Auth

// Progress says how far a pull is. Total grows until the manifest is known.
type Progress struct {
	Ref   string
	Done  int64 // bytes of blobs that are here
	Total int64 // bytes of all blobs
}

// pulls are the pulls under way: who asks for the same image with the same credentials shares one.
type pulls struct {
	mu     sync.Mutex // guards active
	active map[pullKey]*pull
}

type pullKey struct {
	ref  string
	auth Auth
}

// pull is one pull under way. It ends when it is done or when nobody waits for it any more.
type pull struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when id and err are final
	id     string
	err    error

	mu      sync.Mutex // guards waiting, hooks
	waiting int
	hooks   map[int]func(Progress)
	next    int
}

// Pull brings the image from its registry and returns its ID. What is here already is not fetched again, and a pull that
// broke off goes on where it stopped. progress may be nil; it is called from other goroutines, one call at a time.
func (s *Store) Pull(ctx context.Context, ref string, auth *Auth, progress func(Progress)) (string, error) {
	r, err := reference.Parse(ref)
	if err != nil {
		return "", err
	}
	p, leave := s.join(r, auth, progress)
	defer leave()
	select {
	case <-p.done:
		return p.id, p.err
	case <-ctx.Done():
		return "", fmt.Errorf("pull %s: %w", r, ctx.Err())
	}
}

// join finds or starts the pull, and returns what to call when its result is no longer wanted.
func (s *Store) join(r reference.Ref, auth *Auth, progress func(Progress)) (p *pull, leave func()) {
	key := pullKey{ref: r.String()}
	if auth != nil {
		key.auth = *auth
	}
	s.pulls.mu.Lock()
	defer s.pulls.mu.Unlock()
	p = s.pulls.active[key]
	if p == nil {
		ctx, cancel := context.WithCancel(context.Background())
		p = &pull{cancel: cancel, done: make(chan struct{}), hooks: make(map[int]func(Progress))}
		if s.pulls.active == nil {
			s.pulls.active = make(map[pullKey]*pull)
		}
		s.pulls.active[key] = p
		go func() {
			p.id, p.err = s.pull(ctx, r, auth, p.report)
			cancel()
			s.pulls.drop(key, p)
			close(p.done)
		}()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id := p.next
	p.next++
	p.waiting++
	if progress != nil {
		p.hooks[id] = progress
	}
	return p, func() {
		// In this order, so that nobody joins a pull that is being given up.
		s.pulls.mu.Lock()
		defer s.pulls.mu.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.hooks, id)
		if p.waiting--; p.waiting == 0 {
			p.cancel()
			if s.pulls.active[key] == p {
				delete(s.pulls.active, key)
			}
		}
	}
}

func (ps *pulls) drop(key pullKey, p *pull) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.active[key] == p {
		delete(ps.active, key)
	}
}

func (p *pull) report(now Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(p.hooks)) {
		p.hooks[id](now)
	}
}

// pull is the work itself.
func (s *Store) pull(ctx context.Context, r reference.Ref, auth *Auth, report func(Progress)) (string, error) {
	start := time.Now()
	repo := s.client.Repository(r, auth)
	id, err := s.unchanged(ctx, repo, r)
	if err != nil || id != "" {
		return id, err
	}
	lease := s.blobs.Lease()
	defer lease.Release()
	m, asked, err := s.fetchManifest(ctx, repo, lease)
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", r, err)
	}
	f := &fetcher{blobs: s.blobs, repo: repo, lease: lease, report: report, now: Progress{Ref: r.String()}}
	release, err := s.bring(ctx, f, m.doc)
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", r, err)
	}
	defer release()
	a := addition{manifest: m.desc, digests: []string{r.WithDigest(asked), r.WithDigest(m.desc.Digest)}}
	if r.Tag != "" && r.Digest == "" {
		a.tags = []string{r.Tagged()}
	}
	ids, err := s.add(ctx, lease, a)
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", r, err)
	}
	id = ids[0]
	s.log.Info("image pulled", "ref", r, "image", id, "bytes", f.got.Load(), "took", time.Since(start).Round(time.Millisecond))
	return id, nil
}

// unchanged finds out cheaply whether the name means an image that is here. The registry is asked in any case: it decides
// who may have the image. Where it refuses this question, the next one will tell why, in its own words.
func (s *Store) unchanged(ctx context.Context, repo *registry.Repository, r reference.Ref) (string, error) {
	d, err := repo.Head(ctx)
	var refused *registry.Error
	if errors.As(err, &refused) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", r, err)
	}
	if d.Digest == "" {
		d.Digest = r.Digest
	}
	im, err := s.Get(r.WithDigest(d.Digest))
	if err != nil || !s.whole(im) {
		return "", nil
	}
	if r.Tag == "" || r.Digest != "" || slices.Contains(im.Tags, r.Tagged()) {
		return im.ID, nil
	}
	return im.ID, s.Tag(im.ID, r.Tagged())
}

// whole says whether nothing of an image was lost.
func (s *Store) whole(im Image) bool {
	for _, d := range append([]digest.Digest{im.Manifest.Digest}, im.Blobs...) {
		if !s.blobs.Has(d) {
			return false
		}
	}
	return im.Chain == "" || s.snaps.Has(im.Chain)
}

// fetched is a manifest in the content store.
type fetched struct {
	desc ocispec.Descriptor
	doc  ocispec.Manifest
}

// fetchManifest gets the manifest for this machine, and the digest of what the name meant, which may be an index.
func (s *Store) fetchManifest(ctx context.Context, repo *registry.Repository, lease *content.Lease) (fetched, digest.Digest, error) {
	var asked digest.Digest
	var want ocispec.Descriptor
	for range 4 {
		body, d, err := repo.Manifest(ctx, want)
		if err != nil {
			return fetched{}, asked, err
		}
		if asked == "" {
			asked = d.Digest
		}
		doc, err := manifest.Parse(body, d.MediaType)
		if err != nil {
			return fetched{}, asked, err
		}
		if doc.Manifest != nil {
			lease.Hold(d.Digest)
			if err := s.putBlob(ctx, d, body); err != nil {
				return fetched{}, asked, err
			}
			return fetched{desc: d, doc: *doc.Manifest}, asked, nil
		}
		if want, err = manifest.Pick(*doc.Index, manifest.Host()); err != nil {
			return fetched{}, asked, err
		}
	}
	return fetched{}, asked, errors.New("indexes within indexes")
}

func (s *Store) putBlob(ctx context.Context, d ocispec.Descriptor, body []byte) error {
	w, err := s.blobs.Ingest(ctx, d)
	if err != nil || w == nil {
		return err
	}
	defer w.Close()
	if err := w.Restart(); err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	_, err = w.Commit()
	return err
}
