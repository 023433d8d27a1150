package image

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/archive"
	"proa.dev/runtime/content"
	"proa.dev/runtime/manifest"
	"proa.dev/runtime/reference"
	"proa.dev/runtime/snapshot"
)

// Import brings in all images of an archive: an OCI layout or what docker save writes, as tar, compressed or not. It
// returns their tags; an image without one is returned by its ID.
func (s *Store) Import(ctx context.Context, r io.Reader) ([]string, error) {
	lease := s.blobs.Lease()
	defer lease.Release()
	found, err := archive.Import(ctx, r, s.blobs, lease)
	if err != nil {
		return nil, err
	}
	return s.addAll(ctx, found, lease)
}

// ImportDir is Import of an OCI layout that is a directory.
func (s *Store) ImportDir(ctx context.Context, dir string) ([]string, error) {
	lease := s.blobs.Lease()
	defer lease.Release()
	found, err := archive.ImportDir(ctx, dir, s.blobs, lease)
	if err != nil {
		return nil, err
	}
	return s.addAll(ctx, found, lease)
}

func (s *Store) addAll(ctx context.Context, found []archive.Image, lease *content.Lease) ([]string, error) {
	var additions []addition
	var names []string
	for _, f := range found {
		a := addition{manifest: f.Manifest, tags: f.Names, imported: true}
		for _, name := range f.Names {
			ref, err := reference.Parse(name)
			if err != nil {
				return nil, err
			}
			a.digests = append(a.digests, ref.WithDigest(f.Manifest.Digest))
		}
		additions = append(additions, a)
	}
	start := time.Now()
	ids, err := s.add(ctx, lease, additions...)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	for i, f := range found {
		s.log.Info("image imported", "image", ids[i], "tags", f.Names, "unpacked", time.Since(start).Round(time.Millisecond))
		if len(f.Names) == 0 {
			names = append(names, ids[i])
		}
		names = append(names, f.Names...)
	}
	return names, nil
}

// addition is an image whose blobs are here, about to enter the table.
type addition struct {
	manifest ocispec.Descriptor
	tags     []string
	digests  []string
	imported bool
}

// add unpacks images and enters them into the table, all or none, and returns their IDs. The lease holds their blobs.
func (s *Store) add(ctx context.Context, lease *content.Lease, additions ...addition) ([]string, error) {
	images := make([]Image, len(additions))
	ids := make([]string, len(additions))
	for i, a := range additions {
		im, err := s.describe(a.manifest, lease)
		if err != nil {
			return nil, err
		}
		release := s.snaps.Hold(im.Chain)
		defer release()
		if err := s.unpack(ctx, im); err != nil {
			return nil, err
		}
		images[i], ids[i] = im, im.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []*Image
	for i, a := range additions {
		im := &images[i]
		if _, ok := s.images[im.ID]; !ok {
			fresh = append(fresh, im)
		}
		s.enter(im, a)
	}
	if err := s.save(); err != nil {
		for _, im := range fresh {
			s.forget(im)
		}
		return nil, err
	}
	return ids, nil
}

// enter puts an image into the table, or gives more names to the one that is there; the caller holds mu.
func (s *Store) enter(im *Image, a addition) {
	if old, ok := s.images[im.ID]; ok {
		im.Tags, im.Digests, im.Added, im.Imported = old.Tags, old.Digests, old.Added, old.Imported
	}
	im.Imported = im.Imported || a.imported
	s.images[im.ID] = im
	for _, name := range a.tags {
		s.moveTag(name, im)
	}
	for _, name := range a.digests {
		s.names[name] = im.ID
		im.Digests = insert(im.Digests, name)
	}
}

// describe reads manifest and configuration.
func (s *Store) describe(d ocispec.Descriptor, lease *content.Lease) (Image, error) {
	var im Image
	lease.Hold(d.Digest)
	b, err := s.blobs.Read(d.Digest, manifest.MaxBytes)
	if err != nil {
		return im, fmt.Errorf("manifest: %w", err)
	}
	doc, err := manifest.Parse(b, d.MediaType)
	if err != nil {
		return im, err
	}
	if doc.Manifest == nil {
		return im, fmt.Errorf("%s is an index, not an image", d.Digest)
	}
	m := doc.Manifest
	lease.Hold(m.Config.Digest)
	b, err = s.blobs.Read(m.Config.Digest, manifest.MaxConfig)
	if err != nil {
		return im, fmt.Errorf("image configuration: %w", err)
	}
	cfg, err := manifest.ParseConfig(b, len(m.Layers))
	if err != nil {
		return im, err
	}
	im = Image{
		ID:       m.Config.Digest.String(),
		Manifest: ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size},
		Size:     d.Size + int64(len(b)),
		Chain:    snapshot.Top(cfg.RootFS.DiffIDs),
		Blobs:    []digest.Digest{m.Config.Digest},
		Added:    time.Now().UTC(),
	}
	for _, l := range m.Layers {
		lease.Hold(l.Digest)
		size, err := s.blobs.Size(l.Digest)
		if err != nil {
			return im, fmt.Errorf("layer: %w", err)
		}
		im.Size += size
		im.Blobs = append(im.Blobs, l.Digest)
	}
	return im, nil
}

// unpack makes sure that all layers of an image are unpacked.
func (s *Store) unpack(ctx context.Context, im Image) error {
	b, err := s.blobs.Read(digest.Digest(im.ID), manifest.MaxConfig)
	if err != nil {
		return fmt.Errorf("image configuration: %w", err)
	}
	cfg, err := manifest.ParseConfig(b, len(im.Blobs)-1)
	if err != nil {
		return err
	}
	layers := make([]snapshot.Layer, len(cfg.RootFS.DiffIDs))
	for i, diffID := range cfg.RootFS.DiffIDs {
		layers[i] = snapshot.Layer{
			DiffID: diffID,
			Open:   func() (io.ReadCloser, error) { return s.blobs.Open(im.Blobs[i+1]) },
		}
	}
	if _, err := s.snaps.Unpack(ctx, layers); err != nil {
		return fmt.Errorf("unpack image %s: %w", im.ID, err)
	}
	return nil
}

// moveTag gives a tag to an image and takes it from the one that had it; the caller holds mu.
func (s *Store) moveTag(name string, im *Image) {
	if old, ok := s.images[s.names[name]]; ok && old.ID != im.ID {
		old.Tags = slices.DeleteFunc(slices.Clone(old.Tags), func(t string) bool { return t == name })
	}
	s.names[name] = im.ID
	im.Tags = insert(im.Tags, name)
}

// insert adds a name to a sorted list that others may share.
func insert(list []string, name string) []string {
	i, found := slices.BinarySearch(list, name)
	if found {
		return list
	}
	return slices.Insert(slices.Clone(list), i, name)
}

// Tag gives one more name to an image.
func (s *Store) Tag(ref, name string) error {
	r, err := reference.Parse(name)
	if err != nil {
		return err
	}
	if r.Tag == "" || r.Digest != "" {
		return fmt.Errorf("image name %q: want a name with a tag and no digest", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	im, err := s.find(ref)
	if err != nil {
		return err
	}
	s.moveTag(r.Tagged(), im)
	digestName := r.WithDigest(im.Manifest.Digest)
	s.names[digestName] = im.ID
	im.Digests = insert(im.Digests, digestName)
	return s.save()
}

// Export writes images as one OCI layout tar, under the tags they were asked for by, or all tags of an ID.
func (s *Store) Export(ctx context.Context, w io.Writer, refs ...string) error {
	lease := s.blobs.Lease()
	defer lease.Release()
	var images []archive.Image
	for _, ref := range refs {
		im, err := s.Get(ref)
		if err != nil {
			return err
		}
		for _, d := range append(im.Blobs, im.Manifest.Digest) {
			lease.Hold(d)
		}
		names := im.Tags
		if r, err := reference.Parse(ref); err == nil && r.Tag != "" {
			names = []string{r.Tagged()}
		}
		images = append(images, archive.Image{Names: names, Manifest: im.Manifest})
	}
	return archive.Export(ctx, w, s.blobs, images)
}
