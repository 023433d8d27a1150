package stream

import (
	"bufio"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// hijacked is an answer whose connection can be taken over.
type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// sink is a stream that takes all.
type sink struct {
	httpstream.Stream
	taken, closed int
}

func (s *sink) Write(b []byte) (int, error) { s.taken += len(b); return len(b), nil }
func (s *sink) Close() error                { s.closed++; return nil }

// Whatever bytes a client sends once it has a WebSocket, reading them ends with the client.
func FuzzSocket(f *testing.F) {
	f.Add([]byte("\x82\x83\x00\x00\x00\x00\x00hi"), true)
	f.Add([]byte("\x82\x82\x00\x00\x00\x00\xff\x00\x88\x80\x00\x00\x00\x00"), true)
	f.Add([]byte("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"), false)
	f.Add([]byte("\x02\x81\x01\x02\x03\x04\x05\x80\x80\x01\x02\x03\x04\x89\x80\x00\x00\x00\x00"), false)
	f.Fuzz(func(t *testing.T, bytes []byte, wants bool) {
		near, far := net.Pipe()
		defer near.Close()
		r := httptest.NewRequest("GET", "/", nil)
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-Websocket-Protocol": execWebSocket} {
			r.Header.Set(k, v)
		}
		go func() {
			go io.Copy(io.Discard, near)
			_, _ = near.Write(bytes) // the other side may hang up
			near.Close()
		}()
		ws, err := upgrader(execWebSocket).Upgrade(hijacked{httptest.NewRecorder(), far}, r, nil)
		if err != nil {
			return // the client sent before it was asked to
		}
		var streams [channels]httpstream.Stream
		in := &sink{}
		if wants {
			streams[stdin] = in
		}
		s := newSocket(ws)
		if err := s.read(streams); err == nil {
			t.Error("it ends without an error")
		}
		if in.taken > len(bytes) {
			t.Errorf("%d bytes of %d", in.taken, len(bytes))
		}
		s.close()
	})
}

// Whatever bytes a kubelet or a client sends as SPDY, the connection ends with it.
func FuzzSPDY(f *testing.F) {
	f.Add([]byte("\x80\x03\x00\x04\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x64")) // SETTINGS
	f.Add([]byte("\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01"))                                 // PING
	f.Add([]byte("\x00\x00\x00\x01\x01\x00\x00\x02hi"))
	f.Add([]byte("\x80\x03\x00\x01\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x78\xbb\xe3\xc6\xa7\xc2"))
	f.Fuzz(func(t *testing.T, bytes []byte) {
		near, far := net.Pipe()
		conn, err := spdy.NewServerConnection(far, func(s httpstream.Stream, replied <-chan struct{}) error {
			_ = s.Headers().Get("streamType")
			go io.Copy(io.Discard, s)
			return nil
		})
		if err != nil {
			near.Close()
			return
		}
		go io.Copy(io.Discard, near)
		_ = near.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = near.Write(bytes) // the other side may hang up
		near.Close()
		select {
		case <-conn.CloseChan():
		case <-time.After(20 * time.Second):
			t.Error("it does not end")
		}
		_ = conn.Close()
	})
}
