package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// request is one request to a repository.
type request struct {
	method string
	path   string // after the repository
	url    string // instead of path, when the registry says where to go on
	accept string
	offset int64

	body     func() (io.ReadCloser, error) // opened for each attempt
	size     int64
	bodyType string
}

// do sends a request until it is answered or will not be: with credentials once they are asked for, again after what
// passes by itself. The response has a status from 200 to 206, and its body is the caller's to close.
func (c *Client) do(ctx context.Context, e *endpoint, req request) (*http.Response, error) {
	var last error
	for attempt := range e.tries {
		res, err := c.send(ctx, e, req)
		if err != nil && c.goPlain(e, err) {
			res, err = c.send(ctx, e, req)
		}
		if ctx.Err() != nil {
			if err == nil {
				res.Body.Close()
			}
			return nil, e.fail(context.Cause(ctx))
		}
		var wait time.Duration
		switch {
		case err != nil:
			if last = e.fail(err); !passes(err) {
				return nil, last
			}
		case res.StatusCode >= http.StatusOK && res.StatusCode <= http.StatusPartialContent:
			return res, nil
		default:
			wait = retryAfter(res)
			refused := e.refuse(req, res)
			if last = refused; !refused.passes() {
				return nil, last
			}
		}
		if attempt == e.tries-1 {
			break
		}
		pause := c.config.Pause << attempt
		pause += rand.N(pause/4 + 1) // so that a whole cluster does not come back at once
		if err := sleep(ctx, max(wait, pause)); err != nil {
			return nil, last
		}
	}
	return nil, last
}

// send sends a request once, and once more when the registry wants to know who asks.
func (c *Client) send(ctx context.Context, e *endpoint, req request) (*http.Response, error) {
	res, err := c.once(ctx, e, req, c.known(e))
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		return res, err
	}
	header, err := c.authorize(ctx, e, res.Header.Values("WWW-Authenticate"))
	if err != nil {
		res.Body.Close()
		return nil, err
	}
	if header == "" {
		return res, nil // there is nothing to answer the challenge with
	}
	res.Body.Close()
	return c.once(ctx, e, req, header)
}

func (c *Client) once(ctx context.Context, e *endpoint, req request, authorization string) (*http.Response, error) {
	where := e.base + "/v2/" + e.path + req.path
	if req.url != "" {
		where = req.url
	}
	r, err := http.NewRequestWithContext(ctx, req.method, where, nil)
	if err != nil {
		return nil, err
	}
	if req.body != nil {
		if r.Body, err = req.body(); err != nil {
			return nil, err
		}
		r.GetBody, r.ContentLength = req.body, req.size
		r.Header.Set("Content-Type", req.bodyType)
	}
	r.Header.Set("User-Agent", c.config.UserAgent)
	if req.accept != "" {
		r.Header.Set("Accept", req.accept)
	}
	if req.offset > 0 {
		r.Header.Set("Range", "bytes="+strconv.FormatInt(req.offset, 10)+"-")
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return e.client.Do(r)
}

// retryAfter reads how long a registry asks to be left alone, at most half a minute.
func retryAfter(res *http.Response) time.Duration {
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, 30*time.Second)
}

// Error is a registry's refusal.
type Error struct {
	Registry string // which registry or mirror
	What     string // what was asked for: "library/nginx:1.27"
	Status   int    // of HTTP
	Code     string // the registry's own word: "MANIFEST_UNKNOWN", may be empty
	Message  string // and its explanation, may be empty
}

func (e *Error) Error() string {
	var what string
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		what = "denies access to " + e.What + ": it does not exist, or a pull secret with the right to read it is needed"
	case http.StatusNotFound:
		what = "does not have " + e.What
	case http.StatusTooManyRequests:
		what = "limits downloads for now, and refused " + e.What
	default:
		what = "did not serve " + e.What
	}
	s := fmt.Sprintf("registry %s %s (HTTP status %d", e.Registry, what, e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s + ")"
}

// passes says whether another attempt may succeed.
func (e *Error) passes() bool {
	return e.Status >= 500 && e.Status != http.StatusNotImplemented || e.Status == http.StatusTooManyRequests ||
		e.Status == http.StatusRequestTimeout
}

// refuse turns a response into an Error (OCI distribution specification, "Error Codes"), and closes it.
func (e *endpoint) refuse(req request, res *http.Response) *Error {
	defer res.Body.Close()
	out := &Error{Registry: e.name, What: e.what(req), Status: res.StatusCode}
	// An unreadable explanation explains nothing; the status stands.
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<10))
	if err != nil {
		return out
	}
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(b, &doc) == nil && len(doc.Errors) > 0 {
		out.Code, out.Message = clip(doc.Errors[0].Code), clip(doc.Errors[0].Message)
	}
	return out
}

// what names what a request asks for as users do.
func (e *endpoint) what(req request) string {
	if name, ok := strings.CutPrefix(req.path, "/manifests/"); ok {
		if strings.Contains(name, ":") {
			return e.path + "@" + name
		}
		return e.path + ":" + name
	}
	if d, ok := strings.CutPrefix(req.path, "/blobs/"); ok && d != "uploads/" {
		return "blob " + d + " of " + e.path
	}
	return e.path
}

// clip keeps a stranger's text short and on one line: it ends in events.
func clip(s string) string {
	out := make([]rune, 0, 200)
	for _, r := range s {
		if r < ' ' {
			r = ' '
		}
		if out = append(out, r); len(out) == 200 {
			break
		}
	}
	return string(out)
}

// fail names the registry in an error that is not its refusal.
func (e *endpoint) fail(err error) error {
	var refused *Error
	if errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("registry %s: %w", e.name, explain(err))
}
