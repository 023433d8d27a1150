package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Run does what nobody should wait for, whenever there is some: it makes spare directories, empties the trash and brings
// fresh layers to the disk. It returns nil when ctx ends.
func (s *Store) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		}
		if err := s.refill(); err != nil {
			s.log.Error("no spare snapshots", "err", err)
		}
		if err := s.Sweep(); err != nil {
			s.log.Error("snapshot trash was not emptied", "err", err)
		}
		if err := s.sync(); err != nil {
			s.log.Error("layers were not synced", "err", err)
		}
	}
}

// wake tells Run that there is something to do.
func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default: // it is told already
	}
}

// Sweep empties the trash now.
func (s *Store) Sweep() error {
	dir := filepath.Join(s.root, "trash")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// sync writes the layers that are only in memory to the disk, and then says so in their directories.
func (s *Store) sync() error {
	s.mu.Lock()
	fresh := s.fresh
	s.fresh = nil
	s.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	if err := syncFS(s.root); err != nil {
		s.mu.Lock()
		s.fresh = append(fresh, s.fresh...) // for the next time
		s.mu.Unlock()
		return fmt.Errorf("sync %s: %w", s.root, err)
	}
	for _, chain := range fresh {
		err := os.Remove(filepath.Join(s.root, "layers", dirName(chain), "unsynced"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// syncFS writes everything of a file system to its disk.
func syncFS(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
}

// discard moves a directory to the trash, where it no longer counts. The caller holds mu, or nobody else knows the store.
func (s *Store) discard(dir, name string) error {
	to := filepath.Join(s.root, "trash", strconv.FormatInt(time.Now().UnixNano(), 36)+"-"+name)
	err := os.Rename(filepath.Join(s.root, dir, name), to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Hold keeps layers from being collected until the returned function is called, whether they are here yet or not.
func (s *Store) Hold(chains ...digest.Digest) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chains {
		s.held[c]++
	}
	done := false
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if done {
			return
		}
		done = true
		for _, c := range chains {
			if s.held[c]--; s.held[c] == 0 {
				delete(s.held, c)
			}
		}
	}
}

// Collect drops every layer that no chain of keep, no writable layer and no Hold needs. The files go in the background.
// keep is called under the store's lock: it must not call the store, and it must know what Hold kept as soon as that is
// released.
func (s *Store) Collect(keep func() []digest.Digest) (Usage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed := make(map[digest.Digest]bool)
	mark := func(c digest.Digest) {
		for c != "" && !needed[c] {
			needed[c] = true
			l, ok := s.layers[c]
			if !ok {
				return
			}
			c = l.parent
		}
	}
	for _, c := range keep() {
		mark(c)
	}
	for _, c := range s.active {
		mark(c)
	}
	for c := range s.held {
		mark(c)
	}
	var freed Usage
	for c, l := range s.layers {
		if needed[c] {
			continue
		}
		if err := s.discard("layers", dirName(c)); err != nil {
			return freed, fmt.Errorf("remove layer %s: %w", c, err)
		}
		delete(s.layers, c)
		freed.Bytes += l.usage.Bytes
		freed.Inodes += l.usage.Inodes
	}
	s.wake()
	return freed, nil
}
