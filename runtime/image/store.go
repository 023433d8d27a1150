package image

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/content"
	"proa.dev/runtime/manifest"
	"proa.dev/runtime/reference"
	"proa.dev/runtime/registry"
	"proa.dev/runtime/snapshot"
)

// ErrNotFound says that no image has the name or ID.
var ErrNotFound = errors.New("image is not present")

// Rootfs is what overlayfs joins into a container's root file system.
type Rootfs = snapshot.Rootfs

// Config says where a Store keeps its files and how it reaches registries.
type Config struct {
	Root     string          // usually /var/lib/proa/images
	Log      *slog.Logger    // nil: silent
	Registry registry.Config // mirrors, certificate authorities; the zero value works
	Pinned   []string        // names that garbage collection should spare, such as images that came with the cluster
}

// Image is one image of the node.
type Image struct {
	ID       string             `json:"id"` // digest of the configuration
	Manifest ocispec.Descriptor `json:"manifest"`
	Tags     []string           `json:"tags,omitempty"`    // "docker.io/library/nginx:1.27", sorted
	Digests  []string           `json:"digests,omitempty"` // "docker.io/library/nginx@sha256:...", sorted
	Size     int64              `json:"size"`              // of all its blobs, in bytes; layers shared with others count
	Chain    digest.Digest      `json:"chain,omitempty"`   // its top layer
	Blobs    []digest.Digest    `json:"blobs"`             // configuration and layers
	Added    time.Time          `json:"added"`
	Imported bool               `json:"imported,omitempty"` // from an archive: there may be no registry to get it from again
	Pinned   bool               `json:"-"`                  // garbage collection should spare it
}

// Store is the images of one node. All methods are safe for concurrent use by one process.
type Store struct {
	root   string
	log    *slog.Logger
	pinned map[string]bool
	blobs  *content.Store
	snaps  *snapshot.Store
	client *registry.Client
	pulls  pulls

	mu      sync.Mutex // guards the fields below and images.json
	images  map[string]*Image
	names   map[string]string        // tag or digest name -> ID
	configs map[string]ocispec.Image // parsed configurations, filled as they are asked for
}

// Open reads the store at c.Root, and makes it where there is none. It starts nothing: Run works in the background. The
// directory is this process' alone until it ends.
func Open(c Config) (*Store, error) {
	s := &Store{
		root:    c.Root,
		log:     c.Log,
		pinned:  make(map[string]bool),
		images:  make(map[string]*Image),
		names:   make(map[string]string),
		configs: make(map[string]ocispec.Image),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, name := range c.Pinned {
		ref, err := reference.Parse(name)
		if err != nil {
			return nil, err
		}
		s.pinned[ref.String()] = true
	}
	// Others may pass but not look: the layers of running containers lie below.
	if err := os.MkdirAll(c.Root, 0o711); err != nil {
		return nil, fmt.Errorf("make image store: %w", err)
	}
	if err := lock(c.Root); err != nil {
		return nil, err
	}
	var err error
	if s.blobs, err = content.Open(filepath.Join(c.Root, "content")); err != nil {
		return nil, err
	}
	snaps := snapshot.Config{Root: filepath.Join(c.Root, "snapshots"), Log: s.log}
	if s.snaps, err = snapshot.Open(snaps); err != nil {
		return nil, err
	}
	if s.client, err = registry.New(c.Registry); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("read image store: %w", err)
	}
	return s, nil
}

// Run works in the background: it removes the files of what was released and brings new layers to the disk. It returns
// nil when ctx ends.
func (s *Store) Run(ctx context.Context) error { return s.snaps.Run(ctx) }

// table is images.json.
type table struct {
	Images []*Image `json:"images"`
}

func (s *Store) path() string { return filepath.Join(s.root, "images.json") }

func (s *Store) load() error {
	b, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var t table
	if err := json.Unmarshal(b, &t); err != nil {
		return fmt.Errorf("%s: %w", s.path(), err)
	}
	for _, im := range t.Images {
		s.images[im.ID] = im
		for _, name := range slices.Concat(im.Tags, im.Digests) {
			s.names[name] = im.ID
		}
	}
	return nil
}

// save replaces images.json; the caller holds mu.
func (s *Store) save() error {
	b, err := json.MarshalIndent(table{Images: s.sorted()}, "", " ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.root, ".images-*")
	if err != nil {
		return fmt.Errorf("write image table: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.path())
	}
	if err != nil {
		return fmt.Errorf("write image table: %w", errors.Join(err, os.Remove(f.Name())))
	}
	dir, err := os.Open(s.root)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// sorted lists the images, oldest first; the caller holds mu.
func (s *Store) sorted() []*Image {
	list := make([]*Image, 0, len(s.images))
	for _, im := range s.images {
		list = append(list, im)
	}
	slices.SortFunc(list, func(a, b *Image) int {
		return cmp.Or(a.Added.Compare(b.Added), strings.Compare(a.ID, b.ID))
	})
	return list
}

// List returns all images, oldest first.
func (s *Store) List() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Image
	for _, im := range s.sorted() {
		list = append(list, s.copyOf(im))
	}
	return list
}

// copyOf gives a caller a copy of its own; the caller holds mu.
func (s *Store) copyOf(im *Image) Image {
	c := *im
	c.Tags, c.Digests, c.Blobs = slices.Clone(im.Tags), slices.Clone(im.Digests), slices.Clone(im.Blobs)
	c.Pinned = s.named(im) || im.Imported && len(im.Tags) > 0
	return c
}

// named says whether the configuration pins an image.
func (s *Store) named(im *Image) bool {
	return slices.ContainsFunc(im.Tags, func(tag string) bool { return s.pinned[tag] })
}

// Get finds an image by name ("nginx", "nginx:1.27", "nginx@sha256:...") or ID ("sha256:..." or its 64 hex digits). A name
// with tag and digest is found by its digest. ErrNotFound when there is none.
func (s *Store) Get(ref string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	im, err := s.find(ref)
	if err != nil {
		return Image{}, err
	}
	return s.copyOf(im), nil
}

// find is Get for who holds mu.
func (s *Store) find(ref string) (*Image, error) {
	id := ref
	if len(ref) == 64 && !strings.Contains(ref, ":") {
		id = "sha256:" + ref
	}
	if im, ok := s.images[id]; ok {
		return im, nil
	}
	if _, err := digest.Parse(id); err == nil {
		return nil, fmt.Errorf("image %s: %w", ref, ErrNotFound)
	}
	r, err := reference.Parse(ref)
	if err != nil {
		return nil, err
	}
	name := r.Tagged()
	if r.Digest != "" {
		name = r.WithDigest(r.Digest)
	}
	im, ok := s.images[s.names[name]]
	if !ok {
		return nil, fmt.Errorf("image %s: %w", r, ErrNotFound)
	}
	return im, nil
}

// Config returns the ID and the configuration of an image, which is found as Get does.
func (s *Store) Config(ctx context.Context, ref string) (id string, cfg ocispec.Image, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	im, err := s.find(ref)
	if err != nil {
		return "", cfg, err
	}
	cfg, err = s.config(im)
	return im.ID, cfg, err
}

// config reads a configuration once; the caller holds mu.
func (s *Store) config(im *Image) (ocispec.Image, error) {
	if cfg, ok := s.configs[im.ID]; ok {
		return cfg, nil
	}
	b, err := s.blobs.Read(digest.Digest(im.ID), manifest.MaxConfig)
	if err != nil {
		return ocispec.Image{}, fmt.Errorf("image %s: %w", im.ID, err)
	}
	cfg, err := manifest.ParseConfig(b, len(im.Blobs)-1)
	if err != nil {
		return cfg, fmt.Errorf("image %s: %w", im.ID, err)
	}
	s.configs[im.ID] = cfg
	return cfg, nil
}

// Prepare makes a writable root file system for the container key on an image, which is found as Get does.
func (s *Store) Prepare(ctx context.Context, key, ref string) (Rootfs, error) {
	im, err := s.Get(ref)
	if err != nil {
		return Rootfs{}, err
	}
	fs, err := s.snaps.Prepare(key, im.Chain)
	if !errors.Is(err, snapshot.ErrNotFound) {
		return fs, err
	}
	// A layer did not survive a crash of the machine: its blob did.
	release := s.snaps.Hold(im.Chain)
	defer release()
	if err := s.unpack(ctx, im); err != nil {
		return Rootfs{}, err
	}
	return s.snaps.Prepare(key, im.Chain)
}

// Release drops the root file system of a container and what it wrote. The files go in the background. A key that is not
// there is no error.
func (s *Store) Release(ctx context.Context, key string) error { return s.snaps.Release(key) }

// Prepared returns the keys of all root file systems, for who wants to release those that nobody knows any more.
func (s *Store) Prepared() []string {
	active := s.snaps.Active()
	keys := make([]string, 0, len(active))
	for key := range active {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// View unpacks an image and lists its directories for a read-only mount, top-most first. They stay until release is
// called, even when the image is removed, but not longer than this process: what outlives it wants a key (Prepare).
func (s *Store) View(ctx context.Context, ref string) (lower []string, release func(), err error) {
	im, err := s.Get(ref)
	if err != nil {
		return nil, nil, err
	}
	release = s.snaps.Hold(im.Chain)
	if !s.snaps.Has(im.Chain) {
		err = s.unpack(ctx, im)
	}
	if err == nil {
		lower, err = s.snaps.View(im.Chain)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return lower, release, nil
}
