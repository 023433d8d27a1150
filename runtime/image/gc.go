package image

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"proa.dev/runtime/reference"
	"proa.dev/runtime/snapshot"
)

// Remove forgets an image with all its names, and frees what no other image and no container needs. An image that is not
// there is no error. Containers that run on it keep their layers until they are released.
func (s *Store) Remove(ctx context.Context, ref string) error {
	s.mu.Lock()
	im, err := s.find(ref)
	if errors.Is(err, ErrNotFound) {
		s.mu.Unlock()
		return nil
	}
	if err == nil {
		s.forget(im)
		err = s.save()
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.log.Info("image removed", "image", im.ID, "tags", im.Tags)
	_, err = s.collect(ctx)
	return err
}

// RemoveName takes away a name as people mean it: one tag of several, and with its last tag, or where ref is an ID or a digest, the
// image. ErrNotFound when there is none.
func (s *Store) RemoveName(ctx context.Context, ref string) error {
	im, err := s.Get(ref)
	if err != nil {
		return err
	}
	r, err := reference.Parse(ref)
	if tag := r.Tagged(); err == nil && r.Digest == "" && slices.Contains(im.Tags, tag) && len(im.Tags) > 1 {
		return s.Untag(tag)
	}
	return s.Remove(ctx, im.ID)
}

// Untag takes one tag from its image. The image itself stays until Prune, or Remove by its ID.
func (s *Store) Untag(name string) error {
	r, err := reference.Parse(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	im, ok := s.images[s.names[r.Tagged()]]
	if !ok {
		return nil
	}
	delete(s.names, r.Tagged())
	im.Tags = slices.DeleteFunc(slices.Clone(im.Tags), func(t string) bool { return t == r.Tagged() })
	return s.save()
}

// forget takes an image out of the tables; the caller holds mu.
func (s *Store) forget(im *Image) {
	delete(s.images, im.ID)
	delete(s.configs, im.ID)
	maps.DeleteFunc(s.names, func(_, id string) bool { return id == im.ID })
}

// Freed says what a collection gave back, in bytes on disk.
type Freed struct {
	Images []string // IDs
	Blobs  int64
	Layers int64
}

// Prune removes what nobody needs: blobs and layers that no image refers to and, of the images, those without a tag (all:
// every one) on which no root file system stands. Images that the configuration pins stay.
func (s *Store) Prune(ctx context.Context, all bool) (Freed, error) {
	used := make(map[digest.Digest]bool)
	for _, chain := range s.snaps.Active() {
		used[chain] = true
	}
	var removed []string
	s.mu.Lock()
	for _, im := range s.sorted() {
		if used[im.Chain] || len(im.Tags) > 0 && !all || s.named(im) {
			continue
		}
		s.forget(im)
		removed = append(removed, im.ID)
	}
	var err error
	if len(removed) > 0 {
		err = s.save()
	}
	s.mu.Unlock()
	if err != nil {
		return Freed{}, err
	}
	freed, err := s.collect(ctx)
	freed.Images = removed
	return freed, err
}

// collect drops blobs and layers that no image of the table refers to. What a pull or import is working on is held.
func (s *Store) collect(ctx context.Context) (Freed, error) {
	var f Freed
	layers, err := s.snaps.Collect(s.chains)
	f.Layers = layers.Bytes
	if err != nil {
		return f, err
	}
	blobs, err := s.blobs.Collect(ctx, s.wants)
	f.Blobs = blobs.Bytes
	return f, err
}

func (s *Store) chains() []digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var chains []digest.Digest
	for _, im := range s.images {
		chains = append(chains, im.Chain)
	}
	return chains
}

func (s *Store) wants(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, im := range s.images {
		if im.Manifest.Digest == d || slices.Contains(im.Blobs, d) {
			return true
		}
	}
	return false
}

// Usage is what images take on disk, and the file system they are on.
type Usage struct {
	Root      string // the directory
	Bytes     int64  // blobs and unpacked layers
	Inodes    int64
	Capacity  int64 // of the file system
	Available int64 // to this process
}

// Usage adds up blobs and layers. What containers wrote does not count: see SnapshotUsage.
func (s *Store) Usage() (Usage, error) {
	blobs, err := s.blobs.Usage()
	if err != nil {
		return Usage{}, err
	}
	layers := s.snaps.Usage()
	u := Usage{Root: s.root, Bytes: blobs.Bytes + layers.Bytes, Inodes: blobs.Blobs + layers.Inodes}
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil {
		return u, err
	}
	u.Capacity = int64(st.Blocks) * st.Bsize
	u.Available = int64(st.Bavail) * st.Bsize
	return u, nil
}

// SnapshotUsage measures what the container key has written, by walking it.
func (s *Store) SnapshotUsage(ctx context.Context, key string) (snapshot.Usage, error) {
	return s.snaps.UpperUsage(ctx, key)
}
