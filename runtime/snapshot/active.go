package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

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
	if err := s.makeActive(key, chain, lower[0]); err != nil {
		s.mu.Lock()
		delete(s.active, key)
		s.mu.Unlock()
		return Rootfs{}, fmt.Errorf("snapshot %s: %w", key, err)
	}
	dir := filepath.Join(s.root, "active", key)
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

func (s *Store) makeActive(key string, chain digest.Digest, top string) error {
	tmp := filepath.Join(s.root, "active", ".new-"+key)
	if err := os.Mkdir(tmp, 0o711); err != nil {
		return err
	}
	err := fillActive(tmp, chain, top)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(s.root, "active", key))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return nil
}

// fillActive makes the directories. The upper one shows through as the root of the container, so it takes mode and owner
// from the image's.
func fillActive(tmp string, chain digest.Digest, top string) error {
	text := "none"
	if chain != "" {
		text = dirName(chain)
	}
	if err := os.Symlink(text, filepath.Join(tmp, "top")); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(tmp, "work"), 0o711); err != nil {
		return err
	}
	upper := filepath.Join(tmp, "upper")
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(top, &st); err != nil {
		return err
	}
	if err := unix.Lchown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(upper, st.Mode&0o7777)
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
	if !validKey(key) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.discard("active", key); err != nil {
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
	if !validKey(key) {
		return u, fmt.Errorf("snapshot %q: %w", key, fs.ErrNotExist)
	}
	seen := make(map[uint64]bool) // hard links count once
	err := filepath.WalkDir(filepath.Join(s.root, "active", key, "upper"), func(path string, e fs.DirEntry, err error) error {
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
