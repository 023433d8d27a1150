package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/archive"
	"proa.dev/runtime/content"
	"proa.dev/runtime/manifest"
)

var spec = archive.Spec{
	Names:  []string{"web:v1", "web:latest"},
	Config: ocispec.ImageConfig{Entrypoint: []string{"/web"}},
	Layers: [][]archive.File{{
		{Path: "/usr/bin/web", Mode: 0o755, Content: []byte("web")},
		{Path: "bin", Mode: fs.ModeSymlink, Content: []byte("usr/bin")},
	}},
}

func build(t testing.TB, specs ...archive.Spec) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := archive.Build(&b, specs...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func store(t testing.TB) *content.Store {
	t.Helper()
	s, err := content.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t testing.TB, s *content.Store, tar []byte) ([]archive.Image, error) {
	t.Helper()
	lease := s.Lease()
	defer lease.Release()
	return archive.Import(t.Context(), bytes.NewReader(tar), s, lease)
}

func names(images []archive.Image) []string {
	var all []string
	for _, im := range images {
		all = append(all, strings.Join(im.Names, ","))
	}
	return all
}

func TestBuildIsReproducible(t *testing.T) {
	one, two := build(t, spec), build(t, spec)
	if !bytes.Equal(one, two) {
		t.Error("the same files made different archives")
	}
	twice := build(t, spec, archive.Spec{Names: []string{"web:v2"}, Layers: spec.Layers})
	seen := make(map[string]int)
	for _, name := range entries(t, twice) {
		seen[name]++
		if seen[name] > 1 {
			t.Errorf("%s is in the archive twice", name)
		}
	}
}

func entries(t testing.TB, b []byte) []string {
	t.Helper()
	var all []string
	tr := tar.NewReader(bytes.NewReader(b))
	for {
		hdr, err := tr.Next()
		if err != nil {
			return all
		}
		all = append(all, hdr.Name)
	}
}

func TestRoundTrip(t *testing.T) {
	s := store(t)
	images, err := load(t, s, build(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"docker.io/library/web:v1,docker.io/library/web:latest"}; !cmp.Equal(names(images), want) {
		t.Errorf("names = %q; want %q", names(images), want)
	}
	var b bytes.Buffer
	if err := archive.Export(t.Context(), &b, s, images); err != nil {
		t.Fatal(err)
	}
	again, err := load(t, store(t), b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(images, again); diff != "" {
		t.Errorf("exported and imported again (-before +after):\n%s", diff)
	}
}

func TestImportCompressed(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(build(t, spec))
	w.Close()
	images, err := load(t, store(t), b.Bytes())
	if err != nil || len(images) != 1 {
		t.Fatalf("Import = %v, %v; want one image", images, err)
	}
	if _, err := load(t, store(t), b.Bytes()[:b.Len()-20]); err == nil {
		t.Error("a cut archive was accepted")
	}
}

// rewrite makes an archive with the same entries but for what change says: nil drops an entry.
func rewrite(t testing.TB, in []byte, change func(hdr *tar.Header, body []byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	tr, tw := tar.NewReader(bytes.NewReader(in)), tar.NewWriter(&out)
	for {
		hdr, err := tr.Next()
		if err != nil {
			break
		}
		body := make([]byte, hdr.Size)
		if _, err := io.ReadFull(tr, body); err != nil {
			t.Fatal(err)
		}
		if body = change(hdr, body); body == nil {
			continue
		}
		put(t, tw, *hdr, body)
	}
	tw.Close()
	return out.Bytes()
}

func put(t testing.TB, tw *tar.Writer, hdr tar.Header, body []byte) {
	t.Helper()
	hdr.Size = int64(len(body))
	if err := tw.WriteHeader(&hdr); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(body); err != nil {
		t.Fatal(err)
	}
}

// dockerSave makes what docker save made before it made layouts: a folder for each layer, and a link where two are alike.
func dockerSave(t testing.TB) []byte {
	t.Helper()
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	put(t, tw, tar.Header{Name: "hello", Mode: 0o644}, []byte("hello"))
	tw.Close()
	sum := digest.FromBytes(layer.Bytes())
	config, err := json.Marshal(ocispec.Image{
		Platform: manifest.Host(),
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{sum, sum}},
	})
	if err != nil {
		t.Fatal(err)
	}
	name := digest.FromBytes(config).Encoded() + ".json"
	table := fmt.Sprintf(`[{"Config":%q,"RepoTags":["hello:1"],"Layers":["aa/layer.tar","bb/layer.tar"]}]`, name)
	var out bytes.Buffer
	tw = tar.NewWriter(&out)
	put(t, tw, tar.Header{Name: "aa/", Typeflag: tar.TypeDir}, nil)
	put(t, tw, tar.Header{Name: "aa/VERSION"}, []byte("1.0"))
	put(t, tw, tar.Header{Name: "aa/json"}, []byte("{}"))
	put(t, tw, tar.Header{Name: "aa/layer.tar"}, layer.Bytes())
	put(t, tw, tar.Header{Name: "bb/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../aa/layer.tar"}, nil)
	put(t, tw, tar.Header{Name: name}, config)
	put(t, tw, tar.Header{Name: "manifest.json"}, []byte(table))
	put(t, tw, tar.Header{Name: "repositories"}, []byte("{}"))
	tw.Close()
	return out.Bytes()
}

func TestImportDockerSave(t *testing.T) {
	s := store(t)
	images, err := load(t, s, dockerSave(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"docker.io/library/hello:1"}; !cmp.Equal(names(images), want) {
		t.Errorf("names = %q; want %q", names(images), want)
	}
	b, err := s.Read(images[0].Manifest.Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := manifest.Parse(b, images[0].Manifest.MediaType)
	if err != nil || len(doc.Manifest.Layers) != 2 || doc.Manifest.Layers[0].MediaType != ocispec.MediaTypeImageLayer {
		t.Errorf("manifest = %+v, %v; want two plain layers", doc.Manifest, err)
	}
}

func TestImportOfBothForms(t *testing.T) {
	// Newer Dockers write a layout whose index may have the tag alone, and manifest.json beside it.
	var config, layer string
	in := rewrite(t, build(t, spec), func(hdr *tar.Header, body []byte) []byte {
		switch {
		case strings.Contains(string(body), `"rootfs"`):
			config = hdr.Name
		case hdr.Name == "index.json":
			for _, name := range []string{"docker.io/library/web:v1", "docker.io/library/web:latest"} {
				body = bytes.ReplaceAll(body, fmt.Appendf(nil, `"io.containerd.image.name":%q,`, name), nil)
			}
		case hdr.Name != "oci-layout" && layer == "":
			layer = hdr.Name
		}
		return body
	})
	var out bytes.Buffer
	out.Write(in[:len(in)-1024]) // without the end marker
	tw := tar.NewWriter(&out)
	put(t, tw, tar.Header{Name: "manifest.json"}, fmt.Appendf(nil, `[{"Config":%q,"RepoTags":["full/name:7"],"Layers":[%q]}]`, config, layer))
	tw.Close()
	images, err := load(t, store(t), out.Bytes())
	if err != nil || !cmp.Equal(names(images), []string{"docker.io/full/name:7"}) {
		t.Errorf("Import = %q, %v; want the full name", names(images), err)
	}
}

func TestImportRefuses(t *testing.T) {
	good := build(t, spec)
	one := func(hdr tar.Header, body string) []byte {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		put(t, tw, hdr, []byte(body))
		tw.Close()
		return b.Bytes()
	}
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"not a tar":   {[]byte(strings.Repeat("hello ", 1000)), "not a tar file"},
		"empty":       {nil, "not an image archive"},
		"other tar":   {one(tar.Header{Name: "README"}, "hi"), "not an image archive"},
		"dots":        {one(tar.Header{Name: "../../etc/cron.d/x"}, "* * * * *"), `entry "../../etc/cron.d/x": name holds ".."`},
		"blob's name": {one(tar.Header{Name: "blobs/sha256/" + strings.Repeat("0", 64)}, "x"), "wrong digest"},
		"blob's path": {one(tar.Header{Name: "blobs/sha256/a/b"}, "x"), "is not blobs/"},
		"bad index":   {one(tar.Header{Name: "index.json"}, "{"), "index.json: "},
		"bad table":   {one(tar.Header{Name: "manifest.json"}, `{"x":1}`), "manifest.json: "},
		"no image":    {one(tar.Header{Name: "manifest.json"}, `[]`), "names no image"},
		"lost layer": {rewrite(t, dockerSave(t), func(hdr *tar.Header, body []byte) []byte {
			if hdr.Name == "aa/layer.tar" {
				return nil
			}
			return body
		}), `file "aa/layer.tar" is not in the archive`},
		"lost manifest": {rewrite(t, good, func(hdr *tar.Header, body []byte) []byte {
			if bytes.Contains(body, []byte(`"layers":`)) {
				return nil
			}
			return body
		}), "no such blob"},
		"link circle": {func() []byte {
			var b bytes.Buffer
			tw := tar.NewWriter(&b)
			put(t, tw, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}, nil)
			put(t, tw, tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "a"}, nil)
			put(t, tw, tar.Header{Name: "manifest.json"}, []byte(`[{"Config":"a"}]`))
			tw.Close()
			return b.Bytes()
		}(), `file "a" is not in the archive`},
	} {
		s := store(t)
		images, err := load(t, s, c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "image archive: ") {
			t.Errorf("%s: Import = %v, %v; want an error with %q", name, images, err, c.want)
		}
	}
}

func TestImportDir(t *testing.T) {
	dir := t.TempDir()
	rewrite(t, build(t, spec), func(hdr *tar.Header, body []byte) []byte {
		path := filepath.Join(dir, hdr.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
		return body
	})
	s := store(t)
	images, err := archive.ImportDir(t.Context(), dir, s, s.Lease())
	if err != nil || len(images) != 1 || len(images[0].Names) != 2 {
		t.Errorf("ImportDir = %+v, %v", images, err)
	}
	if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.ImportDir(t.Context(), dir, s, s.Lease()); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a link out of the directory: %v; want an error", err)
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", filepath.Join(dir, "sub", "l")); err != nil {
		t.Fatal(err)
	}
	files, err := archive.Tree(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("Tree = %+v, %v", files, err)
	}
	if images, err := load(t, store(t), build(t, archive.Spec{Layers: [][]archive.File{files}})); err != nil || len(images) != 1 {
		t.Errorf("Import = %v, %v", images, err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add(build(f, spec))
	f.Add(dockerSave(f))
	s := store(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		images, err := load(t, s, in)
		for _, im := range images {
			if err != nil || im.Manifest.Digest.Validate() != nil {
				t.Errorf("Import = %+v, %v", im, err)
			}
		}
		if _, err := s.Collect(t.Context(), func(digest.Digest) bool { return false }); err != nil {
			t.Fatal(err)
		}
	})
}
