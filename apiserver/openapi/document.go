package openapi

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// document is one finished answer, compressed.
type document struct {
	hash string
	gzip []byte
	size int // before compression
}

func compress(plain []byte, hash string) (*document, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(plain); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return &document{hash: hash, gzip: bytes.Clone(b.Bytes()), size: len(plain)}, nil
}

// writeTo answers r, compressed where the client takes that. A client that is gone is no error.
func (d *document) writeTo(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Add("Vary", "Accept-Encoding")
		w.Header().Set("Content-Length", strconv.Itoa(len(d.gzip)))
		w.Write(d.gzip)
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(d.gzip))
	if err != nil {
		http.Error(w, fmt.Sprintf("read OpenAPI document: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(d.size))
	io.Copy(w, z)
}
