package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"proa.dev/runtime/content"
)

// containerdName is the annotation that most tools use for a full name; the standard one often holds the tag alone.
const containerdName = "io.containerd.image.name"

// Bounds on what an archive may bring.
const (
	maxEntries = 100_000
	maxTable   = 16 << 20 // of a table of contents
)

// Image is an image of an archive. Its blobs are in the content store.
type Image struct {
	Names    []string // full names with tag; none when the archive does not say
	Manifest ocispec.Descriptor
}

// importer reads one archive.
type importer struct {
	store *content.Store
	lease *content.Lease
	// commits wait for the disk while the next entries are read already. A file system writes several of them at once.
	commits errgroup.Group

	tables  map[string][]byte             // index.json, manifest.json
	files   map[string]ocispec.Descriptor // other files, by path: docker save of old
	aliases map[string]string             // links among them
}

// Import reads an archive into the store and returns what is in it. The lease holds every blob of it. Errors name the
// entry; nothing is written outside of the store, whatever the names in the archive are.
func Import(ctx context.Context, r io.Reader, store *content.Store, lease *content.Lease) ([]Image, error) {
	plain, err := content.Decompress(r)
	if err != nil {
		return nil, fmt.Errorf("image archive: %w", err)
	}
	defer plain.Close()
	im := newImporter(store, lease)
	err = im.read(ctx, tar.NewReader(plain))
	images, err := im.finish(ctx, err)
	if err != nil {
		return nil, fmt.Errorf("image archive: %w", err)
	}
	return images, nil
}

func newImporter(store *content.Store, lease *content.Lease) *importer {
	return &importer{
		store:   store,
		lease:   lease,
		tables:  make(map[string][]byte),
		files:   make(map[string]ocispec.Descriptor),
		aliases: make(map[string]string),
	}
}

// finish waits for the blobs and, when all was read, understands the table of contents. A failed blob comes first: it is why
// reading failed, or the table does not fit.
func (im *importer) finish(ctx context.Context, read error) ([]Image, error) {
	if err := im.commits.Wait(); err != nil {
		return nil, err
	}
	if read != nil {
		return nil, read
	}
	return im.images(ctx)
}

func (im *importer) read(ctx context.Context, tr *tar.Reader) error {
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && n == 0 {
			return fmt.Errorf("not a tar file: %w", err)
		}
		if err != nil {
			return fmt.Errorf("read after %d entries: %w", n, err)
		}
		if n >= maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		if err := im.entry(ctx, hdr, tr); err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
	}
}

func (im *importer) entry(ctx context.Context, hdr *tar.Header, r io.Reader) error {
	for part := range strings.SplitSeq(hdr.Name, "/") {
		if part == ".." {
			return errors.New(`name holds ".."`)
		}
	}
	name := strings.TrimPrefix(path.Clean("/"+hdr.Name), "/")
	switch hdr.Typeflag {
	case tar.TypeReg:
	case tar.TypeSymlink:
		im.aliases[name] = strings.TrimPrefix(path.Join("/", path.Dir(name), hdr.Linkname), "/")
		return nil
	case tar.TypeLink:
		im.aliases[name] = strings.TrimPrefix(path.Clean("/"+hdr.Linkname), "/")
		return nil
	default:
		return nil
	}
	switch base := path.Base(name); {
	case name == ocispec.ImageIndexFile || name == "manifest.json":
		b, err := io.ReadAll(io.LimitReader(r, maxTable+1))
		if err != nil {
			return err
		}
		if len(b) > maxTable {
			return fmt.Errorf("has more than %d bytes", maxTable)
		}
		im.tables[name] = b
		return nil
	case strings.HasPrefix(name, ocispec.ImageBlobsDir+"/"):
		return im.blob(ctx, name, hdr.Size, r)
	case name == ocispec.ImageLayoutFile || name == "repositories" || base == "VERSION" || base == "json":
		return nil
	}
	return im.file(ctx, name, r)
}

// blob takes a file whose name is its digest.
func (im *importer) blob(ctx context.Context, name string, size int64, r io.Reader) error {
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return errors.New("is not blobs/<algorithm>/<digest>")
	}
	d := ocispec.Descriptor{Digest: digest.NewDigestFromEncoded(digest.Algorithm(parts[1]), parts[2]), Size: size}
	if err := d.Digest.Validate(); err != nil {
		return err
	}
	if im.lease.Hold(d.Digest) {
		return nil
	}
	w, err := im.store.Ingest(ctx, d)
	if err != nil || w == nil {
		return err
	}
	if err := w.Restart(); err != nil {
		return errors.Join(err, w.Close())
	}
	if _, err := io.Copy(w, contextReader{ctx, r}); err != nil {
		return errors.Join(err, w.Close())
	}
	im.commits.Go(func() error {
		_, err := w.Commit()
		return err
	})
	return nil
}

// file takes a file that a manifest.json may refer to by its path.
func (im *importer) file(ctx context.Context, name string, r io.Reader) error {
	w, err := im.store.IngestNew()
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.Copy(w, contextReader{ctx, r}); err != nil {
		return err
	}
	im.lease.Hold(w.Digest())
	d, err := w.Commit()
	if err != nil {
		return err
	}
	im.files[name] = d
	return nil
}

// find returns the file at a path, following links.
func (im *importer) find(name string) (ocispec.Descriptor, error) {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	for range 16 {
		if d, ok := im.files[clean]; ok {
			return d, nil
		}
		if hex, ok := strings.CutPrefix(clean, "blobs/sha256/"); ok {
			d := ocispec.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, hex)}
			size, err := im.store.Size(d.Digest)
			d.Size = size
			return d, err
		}
		next, ok := im.aliases[clean]
		if !ok {
			break
		}
		clean = next
	}
	return ocispec.Descriptor{}, fmt.Errorf("file %q is not in the archive", name)
}

// contextReader ends a long copy when the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
