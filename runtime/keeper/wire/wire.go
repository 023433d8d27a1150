package wire

import (
	"errors"
	"io"
)

// Version is the revision of the protocol; it grows when a message changes its meaning, not when fields are added.
const Version = 1

// MaxFrame bounds the payload of one frame in bytes. The largest are launches with a seccomp filter and a long environment.
const MaxFrame = 8 << 20

// ErrMalformed reports bytes that are not a message of the expected kind.
var ErrMalformed = errors.New("malformed message")

// Encoder appends fields to a message. It does without encoding/binary, which brings reflect into every keeper.
type Encoder struct{ b []byte }

// Take returns the bytes written so far.
func (e *Encoder) Take() []byte { return e.b }

// Uint appends an unsigned number.
func (e *Encoder) Uint(v uint64) {
	for ; v >= 0x80; v >>= 7 {
		e.b = append(e.b, byte(v)|0x80)
	}
	e.b = append(e.b, byte(v))
}

// Int appends a signed number.
func (e *Encoder) Int(v int64) { e.Uint(uint64(v)<<1 ^ uint64(v>>63)) }

// Bool appends a truth value.
func (e *Encoder) Bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

// String appends text.
func (e *Encoder) String(s string) {
	e.Uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// Bytes appends a byte string.
func (e *Encoder) Bytes(p []byte) {
	e.Uint(uint64(len(p)))
	e.b = append(e.b, p...)
}

// Strings appends a list of texts.
func (e *Encoder) Strings(list []string) {
	e.Uint(uint64(len(list)))
	for _, s := range list {
		e.String(s)
	}
}

// Decoder reads fields in the order in which they were written. After the first malformed field every read returns zero
// and Err says so. At the end of the message every read returns zero without an error: an older sender knew fewer fields.
type Decoder struct {
	b   []byte
	bad bool
}

// NewDecoder reads from b, which it does not copy: byte strings read from it share its memory.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b} }

// Err returns ErrMalformed if any field was not well-formed.
func (d *Decoder) Err() error {
	if d.bad {
		return ErrMalformed
	}
	return nil
}

// Uint reads an unsigned number.
func (d *Decoder) Uint() uint64 {
	var v uint64
	for i, c := range d.b {
		if i == 9 && c > 1 { // more than 64 bits
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.b = d.b[i+1:]
			return v
		}
	}
	if len(d.b) > 0 {
		d.fail()
	}
	return 0
}

// Int reads a signed number.
func (d *Decoder) Int() int64 {
	v := d.Uint()
	return int64(v>>1) ^ -int64(v&1)
}

// Bool reads a truth value.
func (d *Decoder) Bool() bool {
	if len(d.b) == 0 {
		return false
	}
	v := d.b[0]
	d.b = d.b[1:]
	if v > 1 {
		d.fail()
	}
	return v == 1
}

// Bytes reads a byte string that shares the message's memory.
func (d *Decoder) Bytes() []byte {
	n := d.Uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

// String reads text.
func (d *Decoder) String() string { return string(d.Bytes()) }

// Count reads the length of a list whose elements take at least one byte each, so that a hostile count cannot make the
// reader allocate more than the message is long.
func (d *Decoder) Count() int {
	n := d.Uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

// Strings reads a list of texts.
func (d *Decoder) Strings() []string {
	n := d.Count()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.String()
	}
	return list
}

func (d *Decoder) fail() { d.bad, d.b = true, nil }

// WriteFrame writes one frame in one Write, so that frames of several writers do not mix as long as each holds a lock
// around the call.
func WriteFrame(w io.Writer, kind byte, payload []byte) error {
	buf := make([]byte, 5+len(payload))
	PutHeader(buf, kind, len(payload))
	copy(buf[5:], payload)
	_, err := w.Write(buf)
	return err
}

// PutHeader fills the first 5 bytes of buf with the header of a frame of n bytes. Hot paths keep the header and the
// payload in one buffer.
func PutHeader(buf []byte, kind byte, n int) {
	buf[0], buf[1], buf[2], buf[3], buf[4] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24), kind
}

// ReadFrame reads one frame into buf, grown as needed, and returns its kind and payload, which lies in the returned
// buffer. io.EOF means that the other side closed between two frames.
func ReadFrame(r io.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16 | uint32(head[3])<<24
	if n > MaxFrame {
		return 0, nil, ErrMalformed
	}
	if int(n) > cap(buf) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return head[4], buf, nil
}
