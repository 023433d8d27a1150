package h2

import (
	"net"
	"sync"
)

// listener makes every connection a wire.
type listener struct {
	net.Listener
	buffers *pools
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c, buffers: l.buffers}, nil
}

// wire is a connection below TLS. Once corked it keeps what TLS writes until flush, so that many records cost one system call, and so
// that a write which is broken off loses nothing: TLS cannot go on after half a record, but bytes can.
type wire struct {
	net.Conn
	buffers *pools

	mu     sync.Mutex // guards what follows
	corked bool
	held   *[]byte // nil: nothing
}

// Write implements net.Conn for TLS.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.corked {
		return w.Conn.Write(p)
	}
	if w.held == nil {
		w.held = w.buffers.get(len(p))
	}
	*w.held = append(*w.held, p...)
	return len(p), nil
}

// expect makes room for n bytes and what TLS adds to them.
func (w *wire) expect(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = w.buffers.get(n + n/32 + 64)
	}
}

// cork begins or ends keeping.
func (w *wire) cork(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked = on
}

// holds says whether there is anything to flush.
func (w *wire) holds() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held != nil
}

// flush writes what is kept. What a deadline breaks off stays, and the next flush goes on with it. Only the sender of a connection
// calls it.
func (w *wire) flush() error {
	w.mu.Lock()
	b := w.held
	w.held = nil
	w.mu.Unlock()
	if b == nil {
		return nil
	}
	n, err := w.Conn.Write(*b)
	if n == len(*b) {
		w.buffers.put(b)
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := (*b)[:copy(*b, (*b)[n:])]
	if w.held != nil { // an alert or a key update has come since
		rest = append(rest, *w.held...)
		w.buffers.put(w.held)
	}
	*b = rest
	w.held = b
	return err
}
