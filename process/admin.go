package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"proa.dev/config"
	"proa.dev/store/crypt"
)

// admin is the private HTTP API on <runDir>/admin.sock that only root of this machine can open:
//
//	GET    /steps         one JSON Step a line, as they are reached; ends with the last
//	       /images...     admin_images.go
//	POST   /reencrypt?resource=...  one JSON Reencrypted a line, the last with Done or Error
type admin struct {
	path   string
	steps  *steps
	images Images // nil where another runtime keeps the images
	// reencrypt rewrites what is encrypted with an older key, or not at all; nil on a machine without a store.
	reencrypt func(ctx context.Context, resources []string, tell func(crypt.Progress)) (crypt.Progress, error)
}

// Reencrypted is how far a rewriting of the store is.
type Reencrypted struct {
	Seen    int    `json:"seen"`
	Written int    `json:"written"`
	Last    string `json:"last"` // the last key
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"`
}

func adminPath(c *config.Config) string { return filepath.Join(c.RunDir, "admin.sock") }

func (a *admin) Run(ctx context.Context) error {
	if err := os.Remove(a.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.Listen("unix", a.path)
	if err != nil {
		return fmt.Errorf("open the private socket: %w", err)
	}
	if err := os.Chmod(a.path, 0o600); err != nil {
		return fmt.Errorf("protect the private socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /steps", a.followSteps)
	if a.images != nil {
		imageRoutes(mux, a.images)
	}
	if a.reencrypt != nil {
		mux.HandleFunc("POST /reencrypt", a.followReencrypt)
	}
	server := &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (a *admin) followSteps(w http.ResponseWriter, r *http.Request) {
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	if err := a.steps.follow(r.Context(), func(s Step) error { return errors.Join(out.Encode(s), flush.Flush()) }); err != nil {
		panic(http.ErrAbortHandler) // the caller goes away, or this process does: then what it has must not look like the whole
	}
}

// followReencrypt ends the rewriting when the caller goes away.
func (a *admin) followReencrypt(w http.ResponseWriter, r *http.Request) {
	out := json.NewEncoder(w)
	tell := func(p crypt.Progress, last Reencrypted) {
		last.Seen, last.Written, last.Last = p.Seen, p.Written, p.Last
		_ = errors.Join(out.Encode(last), http.NewResponseController(w).Flush()) // the caller is gone: ctx ends
	}
	p, err := a.reencrypt(r.Context(), r.URL.Query()["resource"], func(p crypt.Progress) { tell(p, Reencrypted{}) })
	if err != nil {
		tell(p, Reencrypted{Error: err.Error()})
		return
	}
	tell(p, Reencrypted{Done: true})
}

func answer(w http.ResponseWriter, body any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	json.NewEncoder(w).Encode(body)
}

// Admin talks to the daemon of this run directory.
type Admin struct{ client *http.Client }

// OpenAdmin does not connect yet.
func OpenAdmin(c *config.Config) Admin {
	path := adminPath(c)
	return Admin{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}
}

// Steps calls fn for each step of the daemon's start and returns when the last is reached. A daemon that ends before that is an error.
func (a Admin) Steps(ctx context.Context, fn func(Step)) error {
	body, err := a.do(ctx, http.MethodGet, "/steps", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for in := json.NewDecoder(body); ; {
		var s Step
		if err := in.Decode(&s); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("follow the start: %w", err)
		}
		fn(s)
	}
}

// Reencrypt rewrites what is stored with an older key, of these resources or of all, and calls fn as it goes on.
func (a Admin) Reencrypt(ctx context.Context, resources []string, fn func(Reencrypted)) error {
	body, err := a.do(ctx, http.MethodPost, "/reencrypt?"+url.Values{"resource": resources}.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for in := json.NewDecoder(body); ; {
		var r Reencrypted
		if err := in.Decode(&r); err != nil {
			return fmt.Errorf("follow the rewriting: %w", err)
		}
		if r.Error != "" {
			return errors.New(r.Error)
		}
		fn(r)
		if r.Done {
			return nil
		}
	}
}

func (a Admin) do(ctx context.Context, method, path string, in io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://proa"+path, in)
	if err != nil {
		return nil, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("talk to the daemon: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, errors.New(string(trimRight(text)))
	}
	return resp.Body, nil
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}
