package content

import (
	"context"
	_ "crypto/sha256" // the digest algorithms an image may use
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// The errors a caller may want to tell apart; all others are the file system's.
var (
	// ErrNotFound says that no whole blob has the digest.
	ErrNotFound = errors.New("no such blob")
	// ErrDigest says that bytes do not have the digest they were announced with. They are gone.
	ErrDigest = errors.New("wrong digest")
	// ErrSize says that there are more or fewer bytes than announced.
	ErrSize = errors.New("wrong size")
	// ErrTooLarge says that a blob read whole into memory is over the caller's bound.
	ErrTooLarge = errors.New("too large")
)

// Store is one directory of blobs. All methods are safe for concurrent use by one process; a second process may read.
type Store struct {
	root string

	mu     sync.Mutex                      // guards busy, leases
	busy   map[digest.Digest]chan struct{} // blobs being ingested; closed when the writer is done
	leases map[*Lease]struct{}
}

// Open makes the directories where they are missing and sweeps ingests that can not be continued.
func Open(root string) (*Store, error) {
	s := &Store{
		root:   root,
		busy:   make(map[digest.Digest]chan struct{}),
		leases: make(map[*Lease]struct{}),
	}
	for _, dir := range []string{"blobs/sha256", "blobs/sha512", "ingest"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return nil, fmt.Errorf("make blob store: %w", err)
		}
	}
	stale, err := filepath.Glob(filepath.Join(root, "ingest", "new-*"))
	if err != nil {
		return nil, err
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("sweep blob store: %w", err)
		}
	}
	return s, nil
}

// Size returns the length of a blob in bytes, or ErrNotFound.
func (s *Store) Size(d digest.Digest) (int64, error) {
	path, err := s.path(d)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, missing(d, err)
	}
	return info.Size(), nil
}

// Has says whether the whole blob is here.
func (s *Store) Has(d digest.Digest) bool {
	_, err := s.Size(d)
	return err == nil
}

// Open returns the blob for reading, or ErrNotFound. It stays readable after a Collect until it is closed.
func (s *Store) Open(d digest.Digest) (*os.File, error) {
	path, err := s.path(d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, missing(d, err)
	}
	return f, nil
}

// Read returns a whole blob of at most limit bytes, or ErrTooLarge. It verifies the digest again: what is small enough to
// be read whole (manifests, configurations) is also what decides about everything else. A blob that the disk has spoilt is
// ErrDigest and is removed, so that it can come again.
func (s *Store) Read(d digest.Digest, limit int64) ([]byte, error) {
	f, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read blob %s: %w: more than %d bytes", d, ErrTooLarge, limit)
	}
	if got := d.Algorithm().FromBytes(b); got != d {
		err := fmt.Errorf("read blob %s: %w on disk: %s", d, ErrDigest, got)
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return b, nil
}

// Usage is what the blobs take on disk.
type Usage struct {
	Blobs int64
	Bytes int64
}

// Usage adds up all blobs and unfinished ingests.
func (s *Store) Usage() (Usage, error) {
	var u Usage
	err := filepath.WalkDir(s.root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return ignoreGone(err)
		}
		info, err := e.Info()
		if err != nil {
			return ignoreGone(err)
		}
		u.Blobs++
		u.Bytes += info.Size()
		return nil
	})
	return u, err
}

// Collect removes every blob and unfinished ingest that keep does not want and no lease holds, and says what that freed.
// keep is called under the store's lock: it must not call the store, and it must know what a lease held as soon as that
// lease is released.
func (s *Store) Collect(ctx context.Context, keep func(digest.Digest) bool) (Usage, error) {
	var freed Usage
	for _, dir := range []string{"blobs/sha256", "blobs/sha512", "ingest"} {
		entries, err := os.ReadDir(filepath.Join(s.root, dir))
		if err != nil {
			return freed, fmt.Errorf("collect blobs: %w", err)
		}
		for _, e := range entries {
			if ctx.Err() != nil {
				return freed, ctx.Err()
			}
			n, gone, err := s.collectOne(dir, e, keep)
			if err != nil {
				return freed, fmt.Errorf("collect blobs: %w", err)
			}
			if gone {
				freed.Blobs++
				freed.Bytes += n
			}
		}
	}
	return freed, nil
}

func (s *Store) collectOne(dir string, e fs.DirEntry, keep func(digest.Digest) bool) (int64, bool, error) {
	d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(dir)), e.Name())
	if dir == "ingest" {
		alg, hex, _ := strings.Cut(e.Name(), "-")
		d = digest.NewDigestFromEncoded(digest.Algorithm(alg), hex)
	}
	if d.Validate() != nil {
		return 0, false, nil
	}
	// Under the lock nobody can start to lease or ingest this blob between the question and the removal, and who gives up
	// a lease has made keep want the blob before.
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.busy[d]; busy || s.leased(d) || keep(d) {
		return 0, false, nil
	}
	info, err := e.Info()
	if err != nil {
		return 0, false, ignoreGone(err)
	}
	if err := os.Remove(filepath.Join(s.root, dir, e.Name())); err != nil {
		return 0, false, ignoreGone(err)
	}
	return info.Size(), true, nil
}

// leased asks all leases; the caller holds mu.
func (s *Store) leased(d digest.Digest) bool {
	for l := range s.leases {
		if _, ok := l.held[d]; ok {
			return true
		}
	}
	return false
}

// Lease keeps blobs from being collected until it is released: take one for the length of a pull or import.
type Lease struct {
	store *Store
	held  map[digest.Digest]struct{} // guarded by store.mu
}

// Lease returns a new, empty lease.
func (s *Store) Lease() *Lease {
	l := &Lease{store: s, held: make(map[digest.Digest]struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[l] = struct{}{}
	return l
}

// Hold adds a blob, which need not be here yet, and says whether it is.
func (l *Lease) Hold(d digest.Digest) bool {
	l.store.mu.Lock()
	l.held[d] = struct{}{}
	l.store.mu.Unlock()
	return l.store.Has(d)
}

// Release ends the lease. It may be called twice.
func (l *Lease) Release() {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	delete(l.store.leases, l)
}

func (s *Store) path(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	if a := d.Algorithm(); a != digest.SHA256 && a != digest.SHA512 {
		return "", fmt.Errorf("digest %q: %w", d, digest.ErrDigestUnsupported)
	}
	return filepath.Join(s.root, "blobs", d.Algorithm().String(), d.Encoded()), nil
}

func missing(d digest.Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	return err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
