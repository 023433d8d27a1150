package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Prepare makes a writable layer on top of the image with the given chain ID ("" for an empty root). The key is the
// caller's, usually a container ID: letters, digits, "-", "_" and ".", at most 128. ErrExists when the key is taken,
// ErrNotFound when a layer is missing.
func (s *Store) Prepare(key string, chain digest.Digest) (Rootfs, error) {
	if !validKey(key) {
		return Rootfs{}, fmt.Errorf("snapshot key %q: want up to 128 letters, digits, '-', '_' or '.'", key)
	}
	lower, err := s.reserve(key, chain)
	if err != nil {
		return Rootfs{}, fmt.Errorf("snapshot %s: %w", key, err)
	}
	dir := filepath.Join(s.root, "active", activeName(key, chain))
	if err := s.makeActive(dir, lower[0]); err != nil {
		s.mu.Lock()
		delete(s.active, key)
		s.mu.Unlock()
		return Rootfs{}, fmt.Errorf("snapshot %s: %w", key, err)
	}
	return Rootfs{Lower: lower, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}, nil
}

// reserve enters the key into the table, which keeps its layers from being collected, and lists them.
func (s *Store) reserve(key string, chain digest.Digest) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.active[key]; taken {
		return nil, ErrExists
	}
	stack, err := s.stack(chain)
	if err != nil {
		return nil, err
	}
	s.active[key] = chain
	return s.lower(stack), nil
}

// makeActive turns a pair of empty directories into the writable layer dir, on the image whose top layer is given. The
// upper directory shows through as the root of the container, so it takes mode and owner from the image's.
func (s *Store) makeActive(dir, top string) error {
	spare, err := s.takeSpare()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	upper := filepath.Join(spare, "upper")
	if err := unix.Stat(top, &st); err != nil {
		return err
	}
	if err := unix.Lchown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(upper, st.Mode&0o7777); err != nil {
		return err
	}
	return os.Rename(spare, dir)
}

// spares is how many pairs of empty directories lie ready: to make one takes a file system longer than all the rest of
// Prepare, ext4 above all when files were removed a moment ago.
const spares = 16

// takeSpare returns a directory with an empty upper and work, from those that lie ready or a new one.
func (s *Store) takeSpare() (string, error) {
	s.mu.Lock()
	n := len(s.spare)
	if n == 0 {
		s.mu.Unlock()
		return s.makeSpare()
	}
	dir := s.spare[n-1]
	s.spare = s.spare[:n-1]
	s.mu.Unlock()
	if n <= spares/2 {
		s.wake()
	}
	return dir, nil
}

func (s *Store) makeSpare() (string, error) {
	dir, err := os.MkdirTemp(filepath.Join(s.root, "spare"), "new-")
	if err != nil {
		return "", err
	}
	err = errors.Join(os.Chmod(dir, 0o711), os.Mkdir(filepath.Join(dir, "work"), 0o711), os.Mkdir(filepath.Join(dir, "upper"), 0o755))
	return dir, err
}

// refill makes spares until there are enough.
func (s *Store) refill() error {
	for {
		s.mu.Lock()
		n := len(s.spare)
		s.mu.Unlock()
		if n >= spares {
			return nil
		}
		dir, err := s.makeSpare()
		if err != nil {
			return fmt.Errorf("make spare snapshot: %w", err)
		}
		s.mu.Lock()
		s.spare = append(s.spare, dir)
		s.mu.Unlock()
	}
}

// activeName is the directory of a writable layer: what it is, and what it stands on.
func activeName(key string, chain digest.Digest) string {
	if chain == "" {
		return key + "@none"
	}
	return key + "@" + dirName(chain)
}

// parseActive is the reverse of activeName.
func parseActive(name string) (key string, chain digest.Digest, ok bool) {
	key, top, found := strings.Cut(name, "@")
	if !found || !validKey(key) {
		return "", "", false
	}
	if top == "none" {
		return key, "", true
	}
	chain, ok = chainOf(top)
	return key, chain, ok
}

// View lists the layers of an image for a read-only mount, top-most first. The caller holds the chain ID meanwhile.
func (s *Store) View(chain digest.Digest) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stack, err := s.stack(chain)
	if err != nil {
		return nil, err
	}
	return s.lower(stack), nil
}

// Release drops a writable layer and what was written to it; the files go in the background. A key that is not there is
// no error.
func (s *Store) Release(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	chain, ok := s.active[key]
	if !ok {
		return nil
	}
	if err := s.discard("active", activeName(key, chain)); err != nil {
		return fmt.Errorf("release snapshot %s: %w", key, err)
	}
	delete(s.active, key)
	s.wake()
	return nil
}

// Active returns the keys of all writable layers, each with the chain ID of the image below.
func (s *Store) Active() map[string]digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.active)
}

// UpperUsage measures what a container has written, by walking it.
func (s *Store) UpperUsage(ctx context.Context, key string) (Usage, error) {
	var u Usage
	s.mu.Lock()
	chain, ok := s.active[key]
	s.mu.Unlock()
	if !ok {
		return u, fmt.Errorf("snapshot %q: %w", key, fs.ErrNotExist)
	}
	seen := make(map[uint64]bool) // hard links count once
	err := filepath.WalkDir(filepath.Join(s.root, "active", activeName(key, chain), "upper"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if e != nil && errors.Is(err, fs.ErrNotExist) {
				return nil // removed by the container meanwhile
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil
		}
		if st.Nlink > 1 && !e.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		u.Inodes++
		u.Bytes += st.Blocks * 512
		return nil
	})
	if err != nil {
		return u, fmt.Errorf("measure snapshot %s: %w", key, err)
	}
	return u, nil
}

func validKey(key string) bool {
	if key == "" || len(key) > 128 || key[0] == '.' {
		return false
	}
	for _, c := range []byte(key) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
		if !ok {
			return false
		}
	}
	return true
}
