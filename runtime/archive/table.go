package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/manifest"
	"proa.dev/runtime/reference"
)

// images understands the table of contents. A layout's index is the better of the two where an archive has both, but only
// manifest.json surely has full names.
func (im *importer) images(ctx context.Context) ([]Image, error) {
	index, hasIndex := im.tables[ocispec.ImageIndexFile]
	docker, hasDocker := im.tables["manifest.json"]
	if !hasIndex && !hasDocker {
		return nil, errors.New("neither index.json (OCI layout) nor manifest.json (docker save) is in it: not an image archive")
	}
	var images []Image
	var err error
	if hasIndex {
		images, err = im.fromIndex(index)
	}
	if err == nil && hasDocker && unnamed(images) {
		images, err = im.fromDocker(ctx, docker)
	}
	if err == nil && len(images) == 0 {
		err = errors.New("its table of contents names no image")
	}
	return images, err
}

func unnamed(images []Image) bool {
	for _, i := range images {
		if len(i.Names) > 0 {
			return false
		}
	}
	return true
}

func (im *importer) fromIndex(b []byte) ([]Image, error) {
	doc, err := manifest.Parse(b, ocispec.MediaTypeImageIndex)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	var order []string
	byDigest := make(map[string]*Image)
	var misfit error
	for _, d := range doc.Index.Manifests {
		chosen, err := im.pick(d, 0)
		if err != nil {
			return nil, fmt.Errorf("index.json: %s: %w", d.Digest, err)
		}
		if chosen == nil {
			misfit = fmt.Errorf("no image for %s/%s in it", manifest.Host().OS, manifest.Host().Architecture)
			continue
		}
		key := chosen.Digest.String()
		if byDigest[key] == nil {
			byDigest[key] = &Image{Manifest: *chosen}
			order = append(order, key)
		}
		name, err := nameOf(d)
		if err != nil {
			return nil, fmt.Errorf("index.json: %w", err)
		}
		if name != "" {
			byDigest[key].Names = append(byDigest[key].Names, name)
		}
	}
	images := make([]Image, 0, len(order))
	for _, key := range order {
		images = append(images, *byDigest[key])
	}
	if len(images) == 0 && misfit != nil {
		return nil, misfit
	}
	return images, nil
}

// pick goes from an entry to the manifest for this machine, nil when the entry is for another or is no image.
func (im *importer) pick(d ocispec.Descriptor, depth int) (*ocispec.Descriptor, error) {
	if depth > 4 {
		return nil, errors.New("indexes within indexes")
	}
	if d.Platform != nil {
		if _, err := manifest.Pick(ocispec.Index{Manifests: []ocispec.Descriptor{d}}, manifest.Host()); err != nil {
			return nil, nil
		}
	}
	b, err := im.store.Read(d.Digest, manifest.MaxBytes)
	if err != nil {
		return nil, err
	}
	im.lease.Hold(d.Digest)
	doc, err := manifest.Parse(b, d.MediaType)
	if err != nil {
		return nil, err
	}
	if doc.Index == nil {
		d.Size, d.Annotations, d.Platform = int64(len(b)), nil, nil
		if d.MediaType == "" {
			d.MediaType = doc.Manifest.MediaType
		}
		return &d, nil
	}
	next, err := manifest.Pick(*doc.Index, manifest.Host())
	if err != nil {
		return nil, err
	}
	return im.pick(next, depth+1)
}

// nameOf reads the name that an entry of index.json carries. A tag alone is no name.
func nameOf(d ocispec.Descriptor) (string, error) {
	name := d.Annotations[containerdName]
	if name == "" {
		name = d.Annotations[ocispec.AnnotationRefName]
		if !strings.ContainsAny(name, "/:") {
			return "", nil
		}
	}
	ref, err := reference.Parse(name)
	if err != nil {
		return "", err
	}
	if ref.Tag == "" {
		return "", nil
	}
	return ref.Tagged(), nil
}

// fromDocker makes the manifests that an archive of docker save does not have.
func (im *importer) fromDocker(ctx context.Context, b []byte) ([]Image, error) {
	var table []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(b, &table); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	var images []Image
	for i, t := range table {
		m := ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageManifest,
			Layers:    []ocispec.Descriptor{},
		}
		var err error
		if m.Config, err = im.find(t.Config); err != nil {
			return nil, fmt.Errorf("manifest.json: image %d: config: %w", i+1, err)
		}
		m.Config.MediaType = ocispec.MediaTypeImageConfig
		for _, name := range t.Layers {
			d, err := im.find(name)
			if err == nil {
				d.MediaType, err = im.layerType(d)
			}
			if err != nil {
				return nil, fmt.Errorf("manifest.json: image %d: layer: %w", i+1, err)
			}
			m.Layers = append(m.Layers, d)
		}
		img, err := im.putManifest(ctx, m, t.RepoTags)
		if err != nil {
			return nil, fmt.Errorf("manifest.json: image %d: %w", i+1, err)
		}
		images = append(images, img)
	}
	return images, nil
}

func (im *importer) putManifest(ctx context.Context, m ocispec.Manifest, tags []string) (Image, error) {
	var img Image
	for _, tag := range tags {
		ref, err := reference.Parse(tag)
		if err != nil {
			return img, err
		}
		img.Names = append(img.Names, ref.Tagged())
	}
	b, err := json.Marshal(m)
	if err != nil {
		return img, err
	}
	d, err := im.store.Put(ctx, m.MediaType, b)
	im.lease.Hold(d.Digest)
	img.Manifest = d
	return img, err
}

// layerType looks at the first bytes of a layer: docker save does not say whether it is compressed.
func (im *importer) layerType(d ocispec.Descriptor) (string, error) {
	f, err := im.store.Open(d.Digest)
	if err != nil {
		return "", err
	}
	defer f.Close()
	magic := make([]byte, 4)
	n, err := io.ReadFull(f, magic)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return "", err
	}
	switch s := string(magic[:n]); {
	case strings.HasPrefix(s, "\x1f\x8b"):
		return ocispec.MediaTypeImageLayerGzip, nil
	case s == "\x28\xb5\x2f\xfd":
		return ocispec.MediaTypeImageLayerZstd, nil
	}
	return ocispec.MediaTypeImageLayer, nil
}
