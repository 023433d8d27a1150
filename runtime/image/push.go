package image

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/manifest"
	"proa.dev/runtime/reference"
)

// Push uploads an image to the registry that its name says, as much of it as is not there. progress may be nil.
func (s *Store) Push(ctx context.Context, ref string, auth *Auth, progress func(Progress)) error {
	r, err := reference.Parse(ref)
	if err != nil {
		return err
	}
	im, err := s.Get(ref)
	if err != nil {
		return err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	lease := s.blobs.Lease()
	defer lease.Release()
	for _, d := range append([]digest.Digest{im.Manifest.Digest}, im.Blobs...) {
		lease.Hold(d)
	}
	body, err := s.blobs.Read(im.Manifest.Digest, manifest.MaxBytes)
	if err != nil {
		return fmt.Errorf("push %s: %w", r, err)
	}
	doc, err := manifest.Parse(body, im.Manifest.MediaType)
	if err != nil {
		return fmt.Errorf("push %s: %w", r, err)
	}
	blobs := append([]ocispec.Descriptor{doc.Manifest.Config}, doc.Manifest.Layers...)
	now := Progress{Ref: r.String()}
	for _, d := range blobs {
		now.Total += d.Size
	}
	repo := s.client.Repository(r, auth)
	for _, d := range blobs {
		if _, err := repo.PushBlob(ctx, d, func() (io.ReadCloser, error) { return s.blobs.Open(d.Digest) }); err != nil {
			return fmt.Errorf("push %s: %w", r, err)
		}
		now.Done += d.Size
		progress(now)
	}
	if err := repo.PushManifest(ctx, im.Manifest, body); err != nil {
		return fmt.Errorf("push %s: %w", r, err)
	}
	s.log.Info("image pushed", "ref", r, "image", im.ID)
	return nil
}
