package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/manifest"
)

// Spec says what an image to build consists of.
type Spec struct {
	Names    []string            // names with tag; all mean the same image
	Platform ocispec.Platform    // zero: this machine
	Config   ocispec.ImageConfig // Entrypoint, Cmd, Env, User, ExposedPorts, WorkingDir and so on
	Layers   [][]File            // lowest first
}

// File is one file, directory or link of a layer. Directories on the way to it that are not listed are made with mode
// 0755 and owner root. All times are 1970, so that the same files always give the same image.
type File struct {
	Path    string      // from the root, with or without a leading slash
	Mode    fs.FileMode // permissions, set-ID and sticky bits, and the type: regular, ModeDir or ModeSymlink
	UID     int
	GID     int
	Content []byte // of a regular file, or the target of a link
	Source  string // path of the file on this machine to take the content from, instead of Content
}

// epoch is the time of everything that is built.
var epoch = time.Unix(0, 0).UTC()

// Build writes images as an OCI layout tar, what they share only once, and returns their names and manifests. Files with
// a Source are read twice and must not change meanwhile.
func Build(w io.Writer, specs ...Spec) ([]Image, error) {
	b := builder{out: tar.NewWriter(w), done: make(map[digest.Digest]bool)}
	var images []Image
	for _, spec := range specs {
		d, err := b.image(spec)
		if err != nil {
			return nil, fmt.Errorf("build image %v: %w", spec.Names, err)
		}
		images = append(images, Image{Names: spec.Names, Manifest: d})
	}
	table, err := tableOf(images)
	if err != nil {
		return nil, fmt.Errorf("build image archive: %w", err)
	}
	for _, f := range table {
		if err := b.file(f.Path, f.Content); err != nil {
			return nil, fmt.Errorf("build image archive: %w", err)
		}
	}
	return images, b.out.Close()
}

// BuildFile is Build into a file, which appears whole or not at all.
func BuildFile(name string, specs ...Spec) (images []Image, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".image-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close() // may be closed already; the first error counts
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if images, err = Build(f, specs...); err != nil {
		return nil, err
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return nil, err
	}
	return images, os.Rename(f.Name(), name)
}

type builder struct {
	out  *tar.Writer
	done map[digest.Digest]bool // blobs that are written
}

// image writes the blobs of one image.
func (b *builder) image(spec Spec) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	config := ocispec.Image{
		Created:  &epoch,
		Platform: spec.Platform,
		Config:   spec.Config,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	if config.Platform.OS == "" {
		config.Platform = manifest.Host()
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Layers:    []ocispec.Descriptor{},
	}
	for i, files := range spec.Layers {
		d, err := b.layer(files)
		if err != nil {
			return none, fmt.Errorf("layer %d: %w", i+1, err)
		}
		m.Layers = append(m.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d.Digest)
	}
	var err error
	if m.Config, err = b.document(ocispec.MediaTypeImageConfig, config); err != nil {
		return none, err
	}
	return b.document(ocispec.MediaTypeImageManifest, m)
}

// layer is made twice, first to learn digest and length, which a tar wants to know before the bytes.
func (b *builder) layer(files []File) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer}
	files, err := complete(files)
	if err != nil {
		return d, err
	}
	sum := summer{hash: sha256.New()}
	if err := writeLayer(&sum, files); err != nil {
		return d, err
	}
	d.Digest, d.Size = digest.NewDigest(digest.SHA256, sum.hash), sum.n
	if b.done[d.Digest] {
		return d, nil
	}
	b.done[d.Digest] = true
	if err := b.out.WriteHeader(header("blobs/sha256/"+d.Digest.Encoded(), d.Size)); err != nil {
		return d, err
	}
	again := summer{hash: sha256.New()}
	if err := writeLayer(io.MultiWriter(b.out, &again), files); err != nil {
		return d, err
	}
	if got := digest.NewDigest(digest.SHA256, again.hash); got != d.Digest {
		return d, errors.New("a file changed while it was read")
	}
	return d, nil
}

type summer struct {
	hash hash.Hash
	n    int64
}

func (s *summer) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return s.hash.Write(p)
}

// complete cleans the paths, adds the directories that are missing, and sorts.
func complete(files []File) ([]File, error) {
	have := make(map[string]bool)
	all := make([]File, 0, len(files)+8)
	for _, f := range files {
		f.Path = strings.TrimPrefix(path.Clean("/"+f.Path), "/")
		if f.Path == "" || have[f.Path] {
			return nil, fmt.Errorf("file %q is the root or is listed twice", f.Path)
		}
		have[f.Path] = true
		all = append(all, f)
	}
	for _, f := range slices.Clone(all) {
		for dir := path.Dir(f.Path); dir != "." && !have[dir]; dir = path.Dir(dir) {
			have[dir] = true
			all = append(all, File{Path: dir, Mode: fs.ModeDir | 0o755})
		}
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

func writeLayer(w io.Writer, files []File) error {
	tw := tar.NewWriter(w)
	for _, f := range files {
		if err := writeFile(tw, f); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	return tw.Close()
}

func writeFile(tw *tar.Writer, f File) error {
	hdr := header(f.Path, 0)
	hdr.Uid, hdr.Gid, hdr.Mode = f.UID, f.GID, unixMode(f.Mode)
	switch f.Mode.Type() {
	case fs.ModeDir:
		hdr.Typeflag, hdr.Name = tar.TypeDir, f.Path+"/"
		return tw.WriteHeader(hdr)
	case fs.ModeSymlink:
		hdr.Typeflag, hdr.Linkname, hdr.Mode = tar.TypeSymlink, string(f.Content), 0o777
		return tw.WriteHeader(hdr)
	case 0:
	default:
		return fmt.Errorf("type %v can not be put into an image", f.Mode.Type())
	}
	if f.Source == "" {
		hdr.Size = int64(len(f.Content))
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		_, err := tw.Write(f.Content)
		return err
	}
	src, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	hdr.Size = info.Size()
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	if _, err := io.Copy(tw, src); err != nil {
		return err
	}
	return nil
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: epoch, Format: tar.FormatPAX}
}

func unixMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	for bit, unixBit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			mode |= unixBit
		}
	}
	return mode
}

func (b *builder) document(mediaType string, v any) (ocispec.Descriptor, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	if b.done[d.Digest] {
		return d, nil
	}
	b.done[d.Digest] = true
	return d, b.file("blobs/sha256/"+d.Digest.Encoded(), body)
}

func (b *builder) file(name string, body []byte) error {
	if err := b.out.WriteHeader(header(name, int64(len(body)))); err != nil {
		return err
	}
	_, err := io.Copy(b.out, bytes.NewReader(body))
	return err
}
