package snapshottest

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"proa.dev/runtime/snapshot"
)

// Time is when every file of a test layer was changed.
var Time = time.Unix(1_000_000_000, 0)

// Tar writes a layer from headers as they are, valid or not. Body is keyed by the index of its header.
func Tar(t testing.TB, body map[int]string, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for i, h := range headers {
		h.Size = int64(len(body[i]))
		if h.ModTime.IsZero() {
			h.ModTime = Time
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatalf("header %d: %v", i, err)
		}
		if _, err := io.WriteString(tw, body[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Layer makes a layer of plain tar bytes, stored as they are.
func Layer(plain []byte) snapshot.Layer { return Stored(plain, plain) }

// Stored makes a layer of plain tar bytes that are stored in another form.
func Stored(plain, stored []byte) snapshot.Layer {
	return snapshot.Layer{
		DiffID: digest.FromBytes(plain),
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(stored)), nil },
	}
}

// Dir, File, Link, Hard and Sym are short forms of headers.
func Dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name + "/"} }

// File is a regular file; its body is given to Tar.
func File(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }

// Sym is a symbolic link.
func Sym(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}

// Hard is a hard link.
func Hard(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}
