package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"proa.dev/kit/dockerauth"
)

// Images is what the image commands do.
type Images interface {
	// Import reads an OCI or docker archive and returns the names in it.
	Import(ctx context.Context, r io.Reader) (names []string, err error)
	// Export writes images as one OCI archive. Before the first byte it is sure that they are there.
	Export(ctx context.Context, w io.Writer, refs ...string) error
	// Pull brings an image from its registry and returns its ID; Push takes it there. tell hears how many bytes are done, of how many.
	// Without auth the configured credentials count.
	Pull(ctx context.Context, ref string, auth *dockerauth.Entry, tell func(done, total int64)) (id string, err error)
	Push(ctx context.Context, ref string, auth *dockerauth.Entry, tell func(done, total int64)) error
	// Tag gives an image one more name.
	Tag(ref, name string) error
	// Remove takes away a name and, if it was the last of its image, the image.
	Remove(ctx context.Context, ref string) error
	// Names lists what there is.
	Names(ctx context.Context) ([]ImageInfo, error)
}

// ImageInfo is one line of `proa image ls`.
type ImageInfo struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	Size int64  `json:"size"` // bytes, compressed as stored
}

// Transfer is how far a pull or push is.
type Transfer struct {
	Done  int64  `json:"done"` // bytes
	Total int64  `json:"total"`
	ID    string `json:"id,omitempty"` // of the image that was pulled
	Ended bool   `json:"ended,omitempty"`
	Error string `json:"error,omitempty"`
}

// imageRoutes are the image commands:
//
//	GET    /images               JSON list of ImageInfo
//	POST   /images               body: archive; answers a JSON list of names
//	DELETE /images?name=         removes a name
//	POST   /images/tag?name=&as= gives one more name
//	GET    /images/export?name=  an archive
//	POST   /images/pull?name=    body: credentials or null; answers one JSON Transfer a line, the last with ended or error
//	POST   /images/push?name=    the same
func imageRoutes(mux *http.ServeMux, images Images) {
	mux.HandleFunc("GET /images", func(w http.ResponseWriter, r *http.Request) {
		list, err := images.Names(r.Context())
		answer(w, list, err)
	})
	mux.HandleFunc("POST /images", func(w http.ResponseWriter, r *http.Request) {
		names, err := images.Import(r.Context(), r.Body)
		answer(w, names, err)
	})
	mux.HandleFunc("DELETE /images", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, images.Remove(r.Context(), r.URL.Query().Get("name")))
	})
	mux.HandleFunc("POST /images/tag", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, images.Tag(r.URL.Query().Get("name"), r.URL.Query().Get("as")))
	})
	mux.HandleFunc("GET /images/export", func(w http.ResponseWriter, r *http.Request) {
		out := &started{w: w}
		switch err := images.Export(r.Context(), out, r.URL.Query()["name"]...); {
		case err != nil && !out.yes:
			answer(w, nil, err)
		case err != nil:
			panic(http.ErrAbortHandler) // half an archive must not look like one
		}
	})
	mux.HandleFunc("POST /images/pull", func(w http.ResponseWriter, r *http.Request) {
		transfer(w, r, images.Pull)
	})
	mux.HandleFunc("POST /images/push", func(w http.ResponseWriter, r *http.Request) {
		transfer(w, r, func(ctx context.Context, ref string, auth *dockerauth.Entry, tell func(done, total int64)) (string, error) {
			return "", images.Push(ctx, ref, auth, tell)
		})
	})
}

// started knows whether anything was written.
type started struct {
	w   io.Writer
	yes bool
}

func (s *started) Write(p []byte) (int, error) {
	s.yes = true
	return s.w.Write(p)
}

// transfer ends when the caller goes away.
func transfer(w http.ResponseWriter, r *http.Request, do func(context.Context, string, *dockerauth.Entry, func(done, total int64)) (string, error)) {
	var auth *dockerauth.Entry
	if err := json.NewDecoder(r.Body).Decode(&auth); err != nil {
		answer(w, nil, fmt.Errorf("read the credentials: %w", err))
		return
	}
	lines := make(chan Transfer, 1) // progress that nobody has told yet is replaced by what is newer
	end := make(chan Transfer, 1)   // this goroutine writes: tell may be called by others, and after the end
	tell := func(done, total int64) {
		select {
		case <-lines:
		default:
		}
		select {
		case lines <- Transfer{Done: done, Total: total}:
		default:
		}
	}
	go func() {
		id, err := do(r.Context(), r.URL.Query().Get("name"), auth, tell)
		last := Transfer{ID: id, Ended: err == nil}
		if err != nil {
			last.Error = err.Error()
		}
		end <- last
	}()
	out := json.NewEncoder(w)
	say := func(t Transfer) {
		_ = errors.Join(out.Encode(t), http.NewResponseController(w).Flush()) // the caller is gone: the context ends do
	}
	for {
		select {
		case t := <-lines:
			say(t)
		case t := <-end:
			say(t)
			return
		}
	}
}

// Images lists the images of this node.
func (a Admin) Images(ctx context.Context) (list []ImageInfo, err error) {
	body, err := a.do(ctx, http.MethodGet, "/images", nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return list, json.NewDecoder(body).Decode(&list)
}

// Import sends an archive and returns the names of the images in it.
func (a Admin) Import(ctx context.Context, r io.Reader) (names []string, err error) {
	body, err := a.do(ctx, http.MethodPost, "/images", r)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return names, json.NewDecoder(body).Decode(&names)
}

// Export writes an archive of these images to w. An error after the first byte leaves half of one there.
func (a Admin) Export(ctx context.Context, w io.Writer, names []string) error {
	body, err := a.do(ctx, http.MethodGet, "/images/export?"+url.Values{"name": names}.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

// Pull brings an image from its registry and returns its ID; auth nil: with the configured credentials.
func (a Admin) Pull(ctx context.Context, name string, auth *dockerauth.Entry, tell func(Transfer)) (id string, err error) {
	return a.transfer(ctx, "/images/pull?name="+url.QueryEscape(name), auth, tell)
}

// Push takes an image to its registry.
func (a Admin) Push(ctx context.Context, name string, auth *dockerauth.Entry, tell func(Transfer)) error {
	_, err := a.transfer(ctx, "/images/push?name="+url.QueryEscape(name), auth, tell)
	return err
}

func (a Admin) transfer(ctx context.Context, path string, auth *dockerauth.Entry, tell func(Transfer)) (string, error) {
	credentials, err := json.Marshal(auth)
	if err != nil {
		return "", err
	}
	body, err := a.do(ctx, http.MethodPost, path, bytes.NewReader(credentials))
	if err != nil {
		return "", err
	}
	defer body.Close()
	for in := json.NewDecoder(body); ; {
		var t Transfer
		if err := in.Decode(&t); err != nil {
			return "", fmt.Errorf("follow the transfer: %w", err)
		}
		if t.Error != "" {
			return "", errors.New(t.Error)
		}
		if t.Ended {
			return t.ID, nil
		}
		tell(t)
	}
}

// TagImage gives an image one more name.
func (a Admin) TagImage(ctx context.Context, name, as string) error {
	return a.done(ctx, http.MethodPost, "/images/tag?"+url.Values{"name": {name}, "as": {as}}.Encode())
}

// RemoveImage takes away one name.
func (a Admin) RemoveImage(ctx context.Context, name string) error {
	return a.done(ctx, http.MethodDelete, "/images?name="+url.QueryEscape(name))
}

func (a Admin) done(ctx context.Context, method, path string) error {
	body, err := a.do(ctx, method, path, nil)
	if err != nil {
		return err
	}
	return body.Close()
}
