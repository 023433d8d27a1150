package h2

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// mouth is a connection whose peer says a few bytes and goes.
type mouth struct {
	net.Conn // nil
	says     io.Reader
	heard    atomic.Int64
}

func (m *mouth) Read(p []byte) (int, error)       { return m.says.Read(p) }
func (m *mouth) Write(p []byte) (int, error)      { m.heard.Add(int64(len(p))); return len(p), nil }
func (m *mouth) Close() error                     { return nil }
func (m *mouth) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (m *mouth) SetReadDeadline(time.Time) error  { return nil }
func (m *mouth) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnection has a peer say anything. Every handler ends, and what is sent and held stays within bounds.
func FuzzConnection(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.AllowIllegalWrites = true
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, h := range []string{":method POST", ":scheme https", ":path /x", "te trailers", "content-length 3"} {
		name, value, _ := strings.Cut(h, " ")
		if err := enc.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
			f.Fatal(err)
		}
	}
	for _, write := range []func() error{
		func() error { return fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}) },
		func() error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, PadLength: 3})
		},
		func() error { return fr.WriteDataPadded(1, true, []byte("abc"), []byte{0, 0}) },
		func() error { return fr.WriteWindowUpdate(1, 1000) },
		func() error { return fr.WritePing(false, [8]byte{}) },
		func() error { return fr.WriteRSTStream(1, 8) },
		func() error { return fr.WriteGoAway(0, 0, nil) },
	} {
		if err := write(); err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(b.Bytes()))
	}
	f.Fuzz(func(t *testing.T, says []byte) {
		var running atomic.Int64
		m := &mouth{says: io.MultiReader(strings.NewReader(http2.ClientPreface), bytes.NewReader(says))}
		srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
		s := &server{http: srv, maxStreams: 10, maxFrame: 1 << 14, window: 1 << 16, headerLimit: 1 << 14, conns: map[*conn]struct{}{}}
		w := &wire{Conn: m, buffers: &s.buffers}
		w.cork(true)
		c := s.conn(w, w, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n := running.Add(1); n > 10 {
				t.Errorf("%d handlers run", n)
			}
			defer running.Add(-1)
			_, _ = io.Copy(w, r.Body)
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
		}))
		s.add(c)
		c.end(c.run())
		s.remove(c)
		for end := time.Now().Add(10 * time.Second); running.Load() > 0 || c.handlers.Load() > 0; time.Sleep(100 * time.Microsecond) {
			if time.Now().After(end) {
				t.Fatalf("%d handlers still run", running.Load())
			}
		}
		if heard, most := m.heard.Load(), int64(100*len(says)+5000); heard > most {
			t.Errorf("%d bytes were answered with %d", len(says), heard)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.streams) != 0 || c.pending != nil && c.err != nil && !c.sending {
			t.Errorf("%d streams are left; pending: %v", len(c.streams), c.pending != nil)
		}
	})
}
