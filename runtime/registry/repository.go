package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/manifest"
)

// Head asks what a tag means, which costs little and does not count against download limits. The digest is empty when
// the registry does not say.
func (r *Repository) Head(ctx context.Context) (ocispec.Descriptor, error) {
	var d ocispec.Descriptor
	err := r.each(ctx, func(e *endpoint) error {
		res, err := r.c.do(ctx, e, request{method: http.MethodHead, path: "/manifests/" + r.wanted(), accept: manifest.Accept()})
		if err != nil {
			return err
		}
		res.Body.Close()
		d = announced(res)
		return nil
	})
	return d, err
}

// Manifest fetches the document that the name of the repository asks for, or the one with the digest of want. The bytes
// are verified against the digest, if one is known.
func (r *Repository) Manifest(ctx context.Context, want ocispec.Descriptor) ([]byte, ocispec.Descriptor, error) {
	name := r.wanted()
	if want.Digest != "" {
		name = want.Digest.String()
	} else {
		want.Digest = r.ref.Digest
	}
	var body []byte
	var d ocispec.Descriptor
	err := r.each(ctx, func(e *endpoint) error {
		res, err := r.c.do(ctx, e, request{method: http.MethodGet, path: "/manifests/" + name, accept: manifest.Accept()})
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err = io.ReadAll(io.LimitReader(res.Body, manifest.MaxBytes+1))
		if err != nil {
			return e.fail(fmt.Errorf("read manifest: %w", err))
		}
		if len(body) > manifest.MaxBytes {
			return e.fail(fmt.Errorf("manifest has more than %d bytes", manifest.MaxBytes))
		}
		d = announced(res)
		if want.Digest == "" {
			want.Digest = d.Digest
		}
		if want.Digest == "" {
			want.Digest = digest.FromBytes(body)
		}
		if got := want.Digest.Algorithm().FromBytes(body); got != want.Digest {
			return e.fail(fmt.Errorf("manifest has digest %s, want %s", got, want.Digest))
		}
		d.Digest, d.Size = want.Digest, int64(len(body))
		return nil
	})
	return body, d, err
}

// wanted is what the name asks for: its digest if it has one, else its tag.
func (r *Repository) wanted() string {
	if r.ref.Digest != "" {
		return r.ref.Digest.String()
	}
	return r.ref.Tag
}

// announced reads what a response says about its document.
func announced(res *http.Response) ocispec.Descriptor {
	mediaType, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	d := ocispec.Descriptor{MediaType: strings.TrimSpace(mediaType), Size: res.ContentLength}
	if sum := digest.Digest(res.Header.Get("Docker-Content-Digest")); sum.Validate() == nil {
		d.Digest = sum
	}
	return d
}

// Blob opens a blob from offset on. The second result is where the bytes really begin: zero when the registry can not
// begin in the middle. A reader that stalls fails (Config.Stall). The caller verifies the bytes.
func (r *Repository) Blob(ctx context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	var body io.ReadCloser
	err := r.each(ctx, func(e *endpoint) error {
		ctx, cancel := context.WithCancelCause(ctx)
		req := request{method: http.MethodGet, path: "/blobs/" + d.Digest.String(), offset: offset}
		res, err := r.c.do(ctx, e, req)
		if err != nil {
			cancel(nil)
			return err
		}
		if offset > 0 && (res.StatusCode != http.StatusPartialContent || !startsAt(res, offset)) {
			offset = 0
			if res.StatusCode == http.StatusPartialContent {
				res.Body.Close()
				cancel(nil)
				return e.fail(errors.New("registry sent another part of the blob than asked for"))
			}
		}
		body = newGuard(ctx, res.Body, cancel, r.c.config.Stall)
		return nil
	})
	return body, offset, err
}

func startsAt(res *http.Response, offset int64) bool {
	return strings.HasPrefix(res.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(offset, 10)+"-")
}

// guard breaks off a download that brings no bytes.
type guard struct {
	io.ReadCloser
	ctx    context.Context // of this download alone
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func newGuard(ctx context.Context, body io.ReadCloser, cancel context.CancelCauseFunc, stall time.Duration) *guard {
	g := &guard{ReadCloser: body, ctx: ctx, cancel: cancel, stall: stall}
	g.timer = time.AfterFunc(stall, func() { cancel(fmt.Errorf("no bytes for %s", stall)) })
	return g
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.ReadCloser.Read(p)
	if err != nil && err != io.EOF && g.ctx.Err() != nil {
		return n, context.Cause(g.ctx)
	}
	g.timer.Reset(g.stall)
	return n, err
}

func (g *guard) Close() error {
	g.timer.Stop()
	err := g.ReadCloser.Close()
	g.cancel(nil)
	return err
}

// each asks the endpoints in order until one answers. The error of the registry itself counts; what its mirrors said is
// added.
func (r *Repository) each(ctx context.Context, ask func(*endpoint) error) error {
	var mirrors []error
	for i, e := range r.endpoints {
		err := ask(e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if i < len(r.endpoints)-1 {
			mirrors = append(mirrors, fmt.Errorf("mirror %w", err))
			continue
		}
		if len(mirrors) == 0 {
			return err
		}
		return fmt.Errorf("%w (%v)", err, strings.ReplaceAll(errors.Join(mirrors...).Error(), "\n", "; "))
	}
	return errors.New("no registry to ask")
}
