package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what of a log to read; the zero value is all there is now.
type Options struct {
	Follow     bool
	Tail       int64     // lines from the end; < 0 or All: every line
	All        bool      // ignore Tail
	Since      time.Time // zero: from the start
	Bytes      int64     // at most so many; <= 0: no limit
	Timestamps bool
	// Streams that are nil are left out.
	Stdout, Stderr io.Writer
	// Ended says whether the container has ended, so that following ends too. It is asked when there is nothing new.
	Ended func() bool
	// Wake is closed or sent to when Ended may have changed its mind. nil: only writes to the log wake.
	Wake <-chan struct{}
}

// stamp is RFC 3339 with nine digits, always.
const stamp = "2006-01-02T15:04:05.000000000Z07:00"

// maxLine bounds one line of the file: runtimes split at 16 KiB.
const maxLine = 1 << 20

// Read copies a log to the writers of o until its end, or, following, until the container has ended or ctx ends (nil).
func Read(ctx context.Context, path string, o Options) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { f.Close() }()
	if !o.All && o.Tail >= 0 {
		at, err := lastLines(f, o.Tail)
		if err != nil {
			return err
		}
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
	}
	w := &writer{o: &o, left: o.Bytes}
	if o.Follow {
		return follow(ctx, path, &f, w)
	}
	_, err = copyLines(f, w)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// errEnough ends the reading at the limit of bytes.
var errEnough = errors.New("enough")

// copyLines hands the complete lines that can be read now to w, and returns what is left of an incomplete one.
func copyLines(r io.Reader, w *writer) (rest []byte, err error) {
	b := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := b.ReadBytes('\n')
		if err == io.EOF {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
		if err := w.line(line); err != nil {
			return nil, err
		}
		if len(line) > maxLine {
			return nil, errors.New("a line of the log is too long")
		}
	}
}

type writer struct {
	o    *Options
	left int64
	open [2]bool // a line of stdout, of stderr was begun: its next part gets no timestamp
}

// line writes one line of the file.
func (w *writer) line(raw []byte) error {
	l, err := parse(raw)
	if err != nil {
		return nil // a half-written line after a crash says nothing
	}
	if !w.o.Since.IsZero() && l.time.Before(w.o.Since) {
		return nil
	}
	out, i := w.o.Stdout, 0
	if l.stderr {
		out, i = w.o.Stderr, 1
	}
	if out == nil {
		return nil
	}
	text := l.text
	if w.o.Timestamps && !w.open[i] {
		text = append([]byte(l.time.Format(stamp)+" "), text...)
	}
	w.open[i] = l.partial
	if !l.partial {
		text = append(text[:len(text):len(text)], '\n')
	}
	if w.o.Bytes > 0 {
		if int64(len(text)) >= w.left {
			_, err := out.Write(text[:w.left])
			return errors.Join(err, errEnough)
		}
		w.left -= int64(len(text))
	}
	_, err = out.Write(text)
	return err
}

type line struct {
	time    time.Time
	stderr  bool
	partial bool
	text    []byte
}

// parse reads one line, with or without its newline.
func parse(raw []byte) (l line, err error) {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	at, rest, ok := bytes.Cut(raw, []byte(" "))
	if !ok {
		return l, errors.New("no time in the log line")
	}
	if l.time, err = time.Parse(time.RFC3339Nano, string(at)); err != nil {
		return l, err
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
	l.partial, l.text = string(tag) == "P", text
	return l, nil
}

// lastLines is where the last n lines begin; the parts of a long line count as one.
func lastLines(f *os.File, n int64) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return size, nil
	}
	const block = 64 << 10
	var tail []byte // the file from pos on
	seen := int64(0)
	for pos := size; pos > 0; {
		step := min(pos, block)
		pos -= step
		buf := make([]byte, step)
		if _, err := f.ReadAt(buf, pos); err != nil {
			return 0, err
		}
		tail = append(buf, tail...)
		seen = 0
		end := len(tail)
		if tail[end-1] == '\n' {
			end--
		}
		for end > 0 {
			nl := bytes.LastIndexByte(tail[:end], '\n')
			if nl < 0 {
				break
			}
			if l, err := parse(prevLine(tail, nl)); err != nil || !l.partial { // the line before ends there: a new one begins
				if seen++; seen == n {
					return pos + int64(nl) + 1, nil
				}
			}
			end = nl
		}
	}
	return 0, nil
}

// prevLine is the line that ends at the newline nl.
func prevLine(b []byte, nl int) []byte { return b[bytes.LastIndexByte(b[:nl], '\n')+1 : nl] }

// follow copies and waits for more, by inotify on the log's directory, so that a rotated log is followed into its successor.
func follow(ctx context.Context, path string, f **os.File, w *writer) error {
	changes, stop, err := watch(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer stop()
	for {
		ended := w.o.Ended != nil && w.o.Ended() // asked before reading: what was written until then is read below
		rest, err := copyLines(*f, w)
		if err == nil && len(rest) > 0 {
			_, err = (*f).Seek(-int64(len(rest)), io.SeekCurrent)
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
		switch next, err := successor(path, *f); {
		case err != nil:
			return err
		case next != nil:
			(*f).Close()
			*f = next
			continue
		case ended:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changes:
			if !ok {
				return errors.New("watching the log ended")
			}
		case <-w.o.Wake:
			if w.o.Ended == nil || !w.o.Ended() {
				w.o.Wake = nil
			}
		}
	}
}

// successor opens the file that stands at path now, if it is another than f and f was read to its end.
func successor(path string, f *os.File) (*os.File, error) {
	now, err := os.Stat(path)
	if os.IsNotExist(err) {
		return nil, nil // in the middle of a rotation
	}
	if err != nil {
		return nil, err
	}
	was, err := f.Stat()
	if err != nil || os.SameFile(now, was) {
		return nil, err
	}
	return os.Open(path)
}

// watch tells of writes to and renames of the files of dir; many at once may be one.
func watch(dir string) (changes <-chan struct{}, stop func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	file := os.NewFile(uintptr(fd), "inotify") // in the poller: no thread waits
	mask := uint32(unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_CLOSE_WRITE)
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	c := make(chan struct{}, 1)
	go func() { // ends when stop closes the file
		defer close(c)
		buf := make([]byte, 4096)
		for {
			if _, err := file.Read(buf); err != nil {
				return
			}
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}()
	return c, func() { file.Close() }, nil
}

// Tail is the end of a log without times: at most so many lines and bytes.
func Tail(path string, lines, limit int64) (string, error) {
	var out bytes.Buffer
	if err := Read(context.Background(), path, Options{Tail: lines, Stdout: &out, Stderr: &out}); err != nil {
		return "", err
	}
	b := out.Bytes()
	if int64(len(b)) > limit {
		b = b[int64(len(b))-limit:]
	}
	return string(b), nil
}
