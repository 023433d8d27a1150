package stream

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/streaming/pkg/httpstream"
)

// closeChannel is the number of the channel that ends others, new in v5: the message 255 0 is the end of stdin.
const closeChannel = 255

// socket is a WebSocket whose messages begin with the number of a channel.
type socket struct {
	ws *websocket.Conn

	mu sync.Mutex // one writer at a time
}

func newSocket(ws *websocket.Conn) *socket { return &socket{ws: ws} }

// to writes to one channel; every Write is a message.
func (s *socket) to(channel int) io.Writer { return &channelWriter{s, byte(channel)} }

type channelWriter struct {
	s *socket
	n byte
}

func (w *channelWriter) Write(b []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	m, err := w.s.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return 0, err
	}
	if _, err := m.Write([]byte{w.n}); err != nil {
		return 0, err
	}
	n, err := m.Write(b)
	return n, errors.Join(err, m.Close())
}

// read hands what the client sends to the streams, until it leaves, which is the error. Only stdin and resize go that way; what comes for streams that
// nobody asked for is dropped.
func (s *socket) read(far [channels]httpstream.Stream) error {
	for {
		_, m, err := s.ws.NextReader()
		if err != nil {
			return err
		}
		var head [1]byte
		if _, err := io.ReadFull(m, head[:]); err == io.EOF {
			continue // an empty message says nothing
		} else if err != nil {
			return err
		}
		n := int(head[0])
		if n == closeChannel {
			if _, err := io.ReadFull(m, head[:]); err != nil {
				return err
			}
			if int(head[0]) == stdin && far[stdin] != nil {
				_ = far[stdin].Close() // it may be closed already
			}
			continue
		}
		if n != stdin && n != resize || far[n] == nil {
			continue
		}
		if _, err := io.Copy(far[n], m); err != nil {
			far[n] = nil // the command takes no more; if it is the client that failed, the next read says so
		}
	}
}

// close says farewell and closes.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = s.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second)) // the client may have left
	s.ws.Close()
}
