package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// origin is the registry itself: nothing is pushed to a mirror.
func (r *Repository) origin() *endpoint { return r.endpoints[len(r.endpoints)-1] }

// PushBlob uploads a blob in one piece, unless the repository has it (OCI distribution specification, "Push"). It says
// whether it had to. open is called for each attempt.
func (r *Repository) PushBlob(ctx context.Context, d ocispec.Descriptor, open func() (io.ReadCloser, error)) (bool, error) {
	e := r.origin()
	res, err := r.c.do(ctx, e, request{method: http.MethodHead, path: "/blobs/" + d.Digest.String()})
	if err == nil {
		return false, res.Body.Close()
	}
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		return false, err
	}
	none := func() (io.ReadCloser, error) { return http.NoBody, nil }
	res, err = r.c.do(ctx, e, request{method: http.MethodPost, path: "/blobs/uploads/", body: none})
	if err != nil {
		return false, err
	}
	res.Body.Close()
	where, err := e.uploadURL(res, d.Digest)
	if err != nil {
		return false, e.fail(err)
	}
	put := request{
		method:   http.MethodPut,
		path:     "/blobs/" + d.Digest.String(), // for errors
		url:      where,
		body:     open,
		size:     d.Size,
		bodyType: "application/octet-stream",
	}
	if res, err = r.c.do(ctx, e, put); err != nil {
		return false, err
	}
	return true, res.Body.Close()
}

// uploadURL is where the registry wants the bytes. Credentials go along, so it must be the registry itself.
func (e *endpoint) uploadURL(res *http.Response, d digest.Digest) (string, error) {
	base, err := url.Parse(e.base + "/")
	if err != nil {
		return "", err
	}
	u, err := base.Parse(res.Header.Get("Location"))
	if err != nil || res.Header.Get("Location") == "" {
		return "", fmt.Errorf("it names no place to upload to: %q", res.Header.Get("Location"))
	}
	if u.Host != base.Host || u.Scheme != base.Scheme {
		return "", fmt.Errorf("it wants the upload sent to another server, %s", u.Host)
	}
	q := u.Query()
	q.Set("digest", d.String())
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// PushManifest uploads a manifest whose blobs are there, under the name's tag or, without one, its digest.
func (r *Repository) PushManifest(ctx context.Context, d ocispec.Descriptor, body []byte) error {
	name := r.ref.Tag
	if name == "" {
		name = d.Digest.String()
	}
	res, err := r.c.do(ctx, r.origin(), request{
		method:   http.MethodPut,
		path:     "/manifests/" + name,
		body:     func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
		size:     int64(len(body)),
		bodyType: d.MediaType,
	})
	if err != nil {
		return err
	}
	return res.Body.Close()
}
