package h2

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// collect is how many bytes of an answer are collected before the first go out. What is smaller needs no Content-Length of the
// handler's, and is sniffed as a whole.
const collect = 16 << 10

// sniffed is how many bytes http.DetectContentType looks at.
const sniffed = 512

// response is the http.ResponseWriter of a stream. Its handler uses it, one goroutine at a time; deadlines may come from others.
type response struct {
	stream   *stream
	head     bool // to a HEAD
	header   http.Header
	status   int     // 0: not said
	block    *[]byte // the fields, encoded, until they are sent
	sent     bool    // that was
	done     bool    // the handler has returned
	length   int64   // declared; -1: not
	written  int64
	data     *[]byte // collected
	typed    bool    // Content-Type is there, or must not be guessed
	dated    bool    // Date is there
	trailers []string
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header, 8)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter. The header is encoded here: what the handler changes afterwards is not told.
func (w *response) WriteHeader(status int) {
	if w.status != 0 || w.done {
		return
	}
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	pool := &w.stream.conn.server.buffers
	b := pool.get(512)
	*b = appendStatus(*b, status)
	if status < 200 {
		for name, values := range w.header {
			if name != "Content-Length" {
				*b = appendFields(*b, name, values)
			}
		}
		_ = w.stream.conn.write(w.stream, answer{block: *b, now: true}) // the final header meets the same error
		pool.put(b)
		return
	}
	w.status, w.block = status, b
	for name, values := range w.header {
		switch name {
		case "Content-Length":
			if n, err := strconv.ParseUint(w.header.Get(name), 10, 63); err == nil {
				w.length = int64(n)
				*b = appendField(*b, name, strconv.FormatUint(n, 10))
			}
			continue
		case "Connection":
			if w.header.Get(name) == "close" {
				w.stream.conn.goAway()
			}
			continue
		case "Content-Type":
			w.typed = true
		case "Content-Encoding":
			w.typed = w.typed || w.header.Get(name) != ""
		case "Date":
			w.dated = true
		case "Trailer":
			w.announce(values)
		}
		*b = appendFields(*b, name, values)
	}
}

// announce notes which trailers will come.
func (w *response) announce(values []string) {
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			name = canonical(strings.TrimSpace(name))
			if httpguts.ValidTrailerHeader(name) && !slices.Contains(w.trailers, name) {
				w.trailers = append(w.trailers, name)
			}
		}
	}
}

// bodyAllowed is RFC 9110 section 6.4.1.
func (w *response) bodyAllowed() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// admit counts n bytes more of the body.
func (w *response) admit(n int) error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.done {
		return errOver
	}
	if !w.bodyAllowed() {
		return http.ErrBodyNotAllowed
	}
	if w.written += int64(n); w.length >= 0 && w.written > w.length {
		return http.ErrContentLength
	}
	return nil
}

// Write implements io.Writer.
func (w *response) Write(p []byte) (int, error) {
	if err := w.admit(len(p)); err != nil {
		return 0, err
	}
	if w.collected()+len(p) <= collect {
		b := w.space(len(p))
		*b = append(*b, p...)
		return len(p), nil
	}
	if w.head { // written says that there is more
		if w.data == nil {
			b := w.space(sniffed)
			*b = append(*b, p[:sniffed]...)
		}
		return len(p), nil
	}
	if err := w.put(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) {
	if w.collected()+len(s) > collect {
		return w.Write([]byte(s))
	}
	if err := w.admit(len(s)); err != nil {
		return 0, err
	}
	b := w.space(len(s))
	*b = append(*b, s...)
	return len(s), nil
}

func (w *response) collected() int {
	if w.data == nil {
		return 0
	}
	return len(*w.data)
}

// space is what n bytes can be appended to.
func (w *response) space(n int) *[]byte {
	if w.data == nil {
		w.data = w.stream.conn.server.buffers.get(max(n+64, 1024))
	}
	return w.data
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *response) FlushError() error {
	if w.done {
		return errOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.put(nil, true)
}

// put queues what was collected and more, and has it sent if it is to go now.
func (w *response) put(more []byte, now bool) error {
	a := answer{more: more, now: now}
	if !w.sent {
		w.complete(more)
		a.block = *w.block
	}
	if w.data != nil && !w.head {
		a.data = *w.data
	}
	err := w.stream.conn.write(w.stream, a)
	w.release()
	return err
}

// complete adds to the block what the handler has left out.
func (w *response) complete(more []byte) {
	b := *w.block
	var sample []byte
	if w.data != nil {
		sample = *w.data
	} else {
		sample = more
	}
	if !w.typed && len(sample) > 0 && w.bodyAllowed() {
		b = appendField(b, "Content-Type", http.DetectContentType(sample))
	}
	if w.done && w.length < 0 && w.bodyAllowed() && w.written == int64(w.collected()) && (!w.head || w.written > 0) {
		b = appendField(b, "Content-Length", strconv.FormatInt(w.written, 10))
	}
	if !w.dated {
		b = appendField(b, "Date", w.stream.conn.server.now())
	}
	*w.block = b
	w.sent = true
}

// release gives buffers back.
func (w *response) release() {
	pool := &w.stream.conn.server.buffers
	if w.block != nil && w.sent {
		pool.put(w.block)
		w.block = nil
	}
	if w.data != nil {
		pool.put(w.data)
		w.data = nil
	}
}

// finish ends the answer: the handler has returned.
func (w *response) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.done = true
	a := answer{end: true}
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			w.announce([]string{name})
			w.header[canonical(name)] = values
		}
	}
	slices.Sort(w.trailers)
	for _, name := range w.trailers {
		a.trailer = appendFields(a.trailer, name, w.header[name])
	}
	if !w.sent {
		w.complete(nil)
		a.block = *w.block
	}
	if w.data != nil && !w.head {
		a.data = *w.data
	}
	_ = w.stream.conn.write(w.stream, a) // the client is gone: nobody to tell
	w.release()
}

// SetReadDeadline is what http.ResponseController calls. After it reading the body fails.
func (w *response) SetReadDeadline(t time.Time) error {
	w.stream.readBefore(t)
	return nil
}

// SetWriteDeadline is what http.ResponseController calls. After it the stream is reset.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.stream.writeBefore(t)
	return nil
}

// EnableFullDuplex is what http.ResponseController calls: it is so.
func (w *response) EnableFullDuplex() error { return nil }
