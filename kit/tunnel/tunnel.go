package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Asked says whether a request asks for an upgrade.
func Asked(r *http.Request) bool {
	for _, v := range r.Header["Connection"] {
		for _, token := range strings.Split(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// Serve sends r's upgrade to the URL of out with out's header and hands the answer to w: a refusal as it is, or the upgraded connection,
// which Serve carries until it ends. out's Upgrade and Connection headers are set from r. rt must speak HTTP/1.1. An error means that
// nothing was sent to w yet.
func Serve(w http.ResponseWriter, r *http.Request, out *http.Request, rt http.RoundTripper) error {
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", r.Header.Get("Upgrade"))
	resp, err := rt.RoundTrip(out)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body) // the client may have left
		return nil
	}
	far, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return errors.New("the connection cannot be upgraded")
	}
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take the client's connection over: %w", err)
	}
	defer near.Close()
	resp.Body = nil
	if err := resp.Write(near); err != nil {
		resp.Body = far
		return nil // the client has left
	}
	resp.Body = far
	drained := make(chan struct{})
	go func() { // ends when the client closes, at the latest when Serve returns
		defer close(drained)
		if _, err := io.Copy(far, buffered); err == nil {
			closeWrite(far)
			return
		}
		// An error of far's is no reason to stop: what it has said is still to be delivered. And the client has to be read from: closing
		// with something unread is a reset, which would take what was sent from the client again.
		_, _ = io.Copy(io.Discard, buffered)
	}()
	_, _ = io.Copy(near, far) // whoever ended it: it has ended
	closeWrite(near)
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-drained:
	case <-t.C:
	}
	return nil
}

// linger is how long a client has to take notice of the end.
const linger = time.Second

// closeWrite tells the server that the client is done, by half-closing where that is possible.
func closeWrite(c io.Closer) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite() // a connection that is closed already is as good
		return
	}
	c.Close()
}
