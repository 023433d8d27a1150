package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// stamp is RFC 3339 with nine digits, always.
const stamp = "2006-01-02T15:04:05.000000000Z07:00"

// maxLine bounds one line of the file: runtimes split at 16 KiB.
const maxLine = 1 << 20

// How much is read, and handed on, at once: little of a log that grows slowly.
const (
	leastRead = 4 << 10
	mostRead  = 64 << 10
)

// errEnough ends the reading at the limit of bytes.
var errEnough = errors.New("enough")

// copier hands on what Options want of the lines of files that grow.
type copier struct {
	o    *Options
	left int64   // of o.Bytes
	open [2]bool // a line of stdout, of stderr was begun: its next part gets no timestamp
	buf  []byte  // what was read of a line that has no end yet
	out  []byte  // what is to be written
	to   int     // to stdout or stderr
}

// copy deals with the complete lines that can be read now.
func (c *copier) copy(r io.Reader) error {
	for {
		n := len(c.buf)
		if n > maxLine {
			return errors.New("a line of the log is too long")
		}
		if cap(c.buf)-n < leastRead/2 {
			c.buf = slices.Grow(c.buf, max(leastRead, n))
		}
		got, err := r.Read(c.buf[n:cap(c.buf)])
		c.buf = c.buf[:n+got]
		full := len(c.buf) == cap(c.buf)
		if e := c.lines(n); e != nil {
			return errors.Join(c.flush(), e)
		}
		if full && cap(c.buf) < mostRead {
			c.buf = slices.Grow(c.buf, 2*cap(c.buf))
		}
		if err == io.EOF {
			return c.flush()
		}
		if err != nil {
			return errors.Join(c.flush(), err)
		}
	}
}

// lines deals with the lines in the buffer, of which no one ends before from, and keeps the rest.
func (c *copier) lines(from int) error {
	at := 0
	for {
		nl := bytes.IndexByte(c.buf[from:], '\n')
		if nl < 0 {
			break
		}
		from += nl + 1
		if err := c.line(c.buf[at:from]); err != nil {
			return err
		}
		at = from
	}
	c.buf = c.buf[:copy(c.buf, c.buf[at:])]
	return nil
}

// cut forgets half a line: its file ends with it.
func (c *copier) cut() { c.buf = c.buf[:0] }

// line deals with one line of the file.
func (c *copier) line(raw []byte) error {
	l, err := parse(raw)
	if err != nil {
		return nil // a half-written line after a crash says nothing
	}
	var at time.Time
	if c.o.Timestamps || !c.o.Since.IsZero() {
		if at, err = l.time(); err != nil || at.Before(c.o.Since) {
			return nil
		}
	}
	w, i := c.o.Stdout, 0
	if l.stderr {
		w, i = c.o.Stderr, 1
	}
	if w == nil {
		return nil
	}
	if i != c.to || len(c.out) > mostRead-leastRead {
		if err := c.flush(); err != nil {
			return err
		}
		c.to = i
	}
	was := len(c.out)
	if c.o.Timestamps && !c.open[i] {
		c.out = append(at.AppendFormat(c.out, stamp), ' ')
	}
	c.open[i] = l.partial
	c.out = append(c.out, l.text...)
	if !l.partial {
		c.out = append(c.out, '\n')
	}
	if c.o.Bytes > 0 {
		if n := int64(len(c.out) - was); n < c.left {
			c.left -= n
		} else {
			c.out = c.out[:was+int(c.left)]
			return errEnough
		}
	}
	return nil
}

// flush writes what has come together.
func (c *copier) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	w := c.o.Stdout
	if c.to == 1 {
		w = c.o.Stderr
	}
	_, err := w.Write(c.out)
	c.out = c.out[:0]
	return err
}

type line struct {
	at      []byte // RFC 3339
	stderr  bool
	partial bool
	text    []byte
}

func (l *line) time() (time.Time, error) { return time.Parse(time.RFC3339Nano, string(l.at)) }

// parse reads one line, with or without its newline.
func parse(raw []byte) (l line, err error) {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	at, rest, ok := bytes.Cut(raw, []byte(" "))
	if !ok || !likeTime(at) {
		return l, errors.New("no time in the log line")
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return l, errors.New("no stream in the log line")
	}
	switch string(stream) {
	case "stdout":
	case "stderr":
		l.stderr = true
	default:
		return l, fmt.Errorf("unknown stream %q in the log line", stream)
	}
	tags, text, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		text = nil // an empty line may lack the space
	}
	tag, _, _ := bytes.Cut(tags, []byte(":"))
	l.at, l.partial, l.text = at, string(tag) == "P", text
	return l, nil
}

// likeTime says whether b has the form of a time of RFC 3339, which is all that most readers want to know.
func likeTime(b []byte) bool {
	const form = "0000-00-00T00:00:00"
	if len(b) <= len(form) {
		return false
	}
	for i := range form {
		if form[i] == '0' && (b[i] < '0' || b[i] > '9') || form[i] != '0' && b[i] != form[i] {
			return false
		}
	}
	return true
}
