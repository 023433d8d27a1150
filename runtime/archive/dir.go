package archive

import (
	"archive/tar"
	"context"
	"fmt"
	"io/fs"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/content"
)

// ImportDir reads an OCI layout that is a directory. Links that lead out of it are errors.
func ImportDir(ctx context.Context, dir string, store *content.Store, lease *content.Lease) ([]Image, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("image layout: %w", err)
	}
	defer root.Close()
	im := newImporter(store, lease)
	images, err := im.finish(ctx, im.readDir(ctx, root))
	if err != nil {
		return nil, fmt.Errorf("image layout %s: %w", dir, err)
	}
	return images, nil
}

func (im *importer) readDir(ctx context.Context, root *os.Root) error {
	if err := im.fromDisk(ctx, root, ocispec.ImageIndexFile); err != nil {
		return err
	}
	return fs.WalkDir(root.FS(), ocispec.ImageBlobsDir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return im.fromDisk(ctx, root, name)
	})
}

// fromDisk takes one file of the directory as if it were an entry of an archive.
func (im *importer) fromDisk(ctx context.Context, root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return im.entry(ctx, &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size()}, f)
}
