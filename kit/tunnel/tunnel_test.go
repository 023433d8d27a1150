package tunnel_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"proa.dev/kit/tunnel"
)

// backend upgrades, says a lot, and ends while it is still talked to.
func backend(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "talk" {
		http.Error(w, "not that", http.StatusForbidden)
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
	io.WriteString(c, strings.Repeat("x", 1<<20))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		panic(err)
	}
	io.Copy(io.Discard, c)
}

func start(t *testing.T) *httptest.Server {
	far := httptest.NewServer(http.HandlerFunc(backend))
	t.Cleanup(far.Close)
	near := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, far.URL, nil)
		if err == nil {
			err = tunnel.Serve(w, r, out, http.DefaultTransport)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}))
	t.Cleanup(near.Close)
	return near
}

func TestAllIsDelivered(t *testing.T) {
	near := start(t)
	for range 20 {
		c, err := net.Dial("tcp", near.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
		b := bufio.NewReader(c)
		resp, err := http.ReadResponse(b, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "talk" {
			t.Fatalf("%v, %v", resp, err)
		}
		go func() {
			io.WriteString(c, strings.Repeat("y", 1<<20))
			c.(*net.TCPConn).CloseWrite()
		}()
		n, err := io.Copy(io.Discard, b)
		if n != 1<<20 {
			t.Errorf("%d bytes of %d came through (%v)", n, 1<<20, err)
		}
		c.Close()
	}
}

func TestRefusal(t *testing.T) {
	near := start(t)
	req, err := http.NewRequest("POST", near.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "shout")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 403 || string(b) != "not that\n" {
		t.Errorf("%d %q %v", resp.StatusCode, b, err)
	}
}
