package image_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/archive"
)

// large is an image of 64 MiB in files of 4 KiB to 4 MiB, half of it compressible.
func large(b *testing.B) []byte {
	rnd := rand.NewChaCha8([32]byte{1})
	var files []archive.File
	left := 64 << 20
	for i := 0; left > 0; i++ {
		size := min(left, 4096<<(i%11))
		body := make([]byte, size)
		rnd.Read(body[:size/2])
		files = append(files, archive.File{Path: fmt.Sprintf("d%d/f%d", i%50, i), Mode: 0o644, Content: body})
		left -= size
	}
	return build(b, archive.Spec{Names: []string{"large:1"}, Layers: [][]archive.File{files}})
}

func BenchmarkImport(b *testing.B) {
	roottest.Need(b, "layers are unpacked with their owners")
	tar := large(b)
	b.SetBytes(int64(len(tar)))
	b.ReportAllocs()
	for b.Loop() {
		s := open(b, b.TempDir())
		if _, err := s.Import(b.Context(), bytes.NewReader(tar)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepareRelease(b *testing.B) {
	roottest.Need(b, "layers are unpacked with their owners")
	s := open(b, b.TempDir())
	importImage(b, s, webSpec("v1"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Prepare(b.Context(), "c", "proa/web:v1"); err != nil {
			b.Fatal(err)
		}
		if err := s.Release(b.Context(), "c"); err != nil {
			b.Fatal(err)
		}
	}
}
