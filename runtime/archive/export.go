package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/content"
	"proa.dev/runtime/manifest"
	"proa.dev/runtime/reference"
)

// Export writes images as one OCI layout tar, each blob once. The caller keeps the blobs from being collected.
func Export(ctx context.Context, w io.Writer, store *content.Store, images []Image) error {
	tw := tar.NewWriter(w)
	done := make(map[digest.Digest]bool)
	for _, im := range images {
		b, err := store.Read(im.Manifest.Digest, manifest.MaxBytes)
		if err != nil {
			return err
		}
		doc, err := manifest.Parse(b, im.Manifest.MediaType)
		if err != nil {
			return err
		}
		if doc.Manifest == nil {
			return fmt.Errorf("%s is an index, not an image", im.Manifest.Digest)
		}
		blobs := []digest.Digest{im.Manifest.Digest, doc.Manifest.Config.Digest}
		for _, l := range doc.Manifest.Layers {
			blobs = append(blobs, l.Digest)
		}
		for _, d := range blobs {
			if done[d] {
				continue
			}
			done[d] = true
			if err := copyBlob(ctx, tw, store, d); err != nil {
				return fmt.Errorf("export %s: %w", d, err)
			}
		}
	}
	table, err := tableOf(images)
	if err != nil {
		return err
	}
	for _, f := range table {
		if err := writeFile(tw, File{Path: f.Path, Mode: 0o644, Content: f.Content}); err != nil {
			return err
		}
	}
	return tw.Close()
}

func copyBlob(ctx context.Context, tw *tar.Writer, store *content.Store, d digest.Digest) error {
	f, err := store.Open(d)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(header("blobs/"+d.Algorithm().String()+"/"+d.Encoded(), info.Size())); err != nil {
		return err
	}
	_, err = io.Copy(tw, contextReader{ctx, f})
	return err
}

// tableOf makes the files that say what is in a layout.
func tableOf(images []Image) ([]File, error) {
	ix := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
	for _, im := range images {
		if len(im.Names) == 0 {
			ix.Manifests = append(ix.Manifests, im.Manifest)
		}
		for _, name := range im.Names {
			ref, err := reference.Parse(name)
			if err != nil {
				return nil, err
			}
			d := im.Manifest
			d.Annotations = map[string]string{
				containerdName:            ref.String(),
				ocispec.AnnotationRefName: ref.Tag,
			}
			ix.Manifests = append(ix.Manifests, d)
		}
	}
	index, err := json.Marshal(ix)
	if err != nil {
		return nil, err
	}
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	return []File{
		{Path: ocispec.ImageIndexFile, Content: index},
		{Path: ocispec.ImageLayoutFile, Content: layout},
	}, nil
}
