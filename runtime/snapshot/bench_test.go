package snapshot_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/snapshot"
	"proa.dev/runtime/snapshot/snapshottest"
)

func BenchmarkUnpack(b *testing.B) {
	roottest.Need(b, "layers have owners")
	rnd := rand.NewChaCha8([32]byte{1})
	var headers []tar.Header
	body := make(map[int]string)
	for i := range 1000 {
		if i%100 == 0 {
			headers = append(headers, snapshottest.Dir(fmt.Sprintf("d%d", i/100)))
			continue
		}
		p := make([]byte, 512<<(i%10))
		rnd.Read(p[:len(p)/2])
		body[i] = string(p)
		headers = append(headers, snapshottest.File(fmt.Sprintf("d%d/f%d", i/100, i)))
	}
	plain := snapshottest.Tar(b, body, headers...)
	var gz, zst bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(plain)
	w.Close()
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		b.Fatal(err)
	}
	z.Write(plain)
	z.Close()
	for name, stored := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zst.Bytes()} {
		b.Run(name, func(b *testing.B) {
			// A store for each round, removed at the end: ext4 is slow to give out inodes that were freed a moment ago.
			root := b.TempDir()
			layer := snapshottest.Stored(plain, stored)
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s := open(b, filepath.Join(root, fmt.Sprint(i)), snapshot.Limits{})
				if _, err := s.Unpack(b.Context(), []snapshot.Layer{layer}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
