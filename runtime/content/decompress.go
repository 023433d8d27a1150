package content

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow bounds the memory that a zstd layer may ask for: the largest window the format's own tools use by default.
const zstdWindow = 128 << 20

// Decompress returns the plain bytes of a layer that is plain, gzip (RFC 1952) or zstd (RFC 8878), told apart by their
// first bytes. Reading happens ahead in a goroutine, which ends when the reader is closed.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	magic, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read gzip blob: %w", err)
		}
		return ReadAhead(z), nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("read zstd blob: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

// ahead reads in one goroutine while the other end works.
type ahead struct {
	full  chan chunk
	empty chan []byte
	quit  chan struct{}
	ended chan struct{} // closed when the goroutine is gone; Close waits for it
	once  sync.Once
	now   chunk
	off   int
}

type chunk struct {
	data []byte
	err  error
}

// ReadAhead reads r in a goroutine, up to a megabyte ahead. Close waits until that no longer touches r.
func ReadAhead(r io.Reader) io.ReadCloser {
	const buffers = 4
	a := &ahead{
		full:  make(chan chunk, buffers),
		empty: make(chan []byte, buffers),
		quit:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	for range buffers {
		a.empty <- make([]byte, 256<<10)
	}
	go a.fill(r)
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.ended)
	for {
		select {
		case buf := <-a.empty:
			n, err := fillUp(r, buf[:cap(buf)])
			a.full <- chunk{buf[:n], err} // never blocks: there are no more buffers than places
			if err != nil {
				return
			}
		case <-a.quit:
			return
		}
	}
}

// fillUp is io.ReadFull without its change of io.EOF into io.ErrUnexpectedEOF, which is a broken stream's own word.
func fillUp(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

func (a *ahead) Read(p []byte) (int, error) {
	for a.off == len(a.now.data) {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.data != nil {
			a.empty <- a.now.data[:cap(a.now.data)]
		}
		a.now, a.off = <-a.full, 0
	}
	n := copy(p, a.now.data[a.off:])
	a.off += n
	return n, nil
}

// Close may be called twice.
func (a *ahead) Close() error {
	a.once.Do(func() { close(a.quit) })
	<-a.ended
	return nil
}
