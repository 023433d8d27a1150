package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// Read copies a log to the writers of o until its end, or, following, until the container has ended or ctx ends (nil). What it hands to a
// writer it uses again afterwards.
func Read(ctx context.Context, path string, o Options) error {
	f, err := open(path)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { f.Close() }()
	if !o.All && o.Tail >= 0 {
		at, err := lastLines(f.file, o.Tail)
		if err != nil {
			return err
		}
		if _, err := f.file.Seek(at, io.SeekStart); err != nil {
			return err
		}
	}
	c := &copier{o: &o, left: o.Bytes}
	if o.Follow {
		err = follow(ctx, path, &f, c)
	} else {
		err = c.copy(f)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// source is one file of a log.
type source struct {
	io.Reader // its text
	file      *os.File
}

func (s source) Close() error { return s.file.Close() }

// open opens the log at path. In the middle of a rotation there is none for a moment: the newest of the old ones is it then.
func open(path string) (source, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		old, e := rotated(path)
		old = slices.DeleteFunc(old, func(o string) bool { return strings.HasSuffix(o, packed) || strings.HasSuffix(o, unfinished) })
		if e == nil && len(old) > 0 {
			f, err = os.Open(old[len(old)-1])
		}
	}
	return source{f, f}, err
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
	var (
		rest  []byte      // the file from pos to the end of the line that is looked at
		begin = int64(-1) // of the line after it
		seen  int64
	)
	last := func(line []byte) bool { // the n lines begin after this one
		if l, err := parse(line); begin >= 0 && (err != nil || !l.partial) {
			seen++
		}
		return seen == n
	}
	for pos := size; pos > 0; {
		step := min(pos, block)
		pos -= step
		buf := make([]byte, step, int(step)+len(rest))
		if _, err := f.ReadAt(buf, pos); err != nil {
			return 0, err
		}
		rest = append(buf, rest...)
		for {
			nl := bytes.LastIndexByte(rest[:len(rest)-1], '\n')
			if nl < 0 {
				break
			}
			if last(rest[nl+1:]) {
				return begin, nil
			}
			rest, begin = rest[:nl+1], pos+int64(nl)+1
		}
	}
	if len(rest) > 0 && last(rest) {
		return begin, nil
	}
	return 0, nil
}

// follow copies and waits for more, by inotify on the log's directory, so that a rotated log is followed into its successor.
func follow(ctx context.Context, path string, f *source, c *copier) error {
	changes, stop, err := watch(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer stop()
	o := c.o
	for {
		ended := o.Ended != nil && o.Ended() // asked before reading: what was written until then is read below
		if err := c.copy(*f); err != nil {
			return err
		}
		switch next, ok, err := successor(path, f.file); {
		case err != nil:
			return err
		case ok:
			err := c.copy(*f) // what was written before its successor
			f.Close()
			c.cut()
			*f = next
			if err != nil {
				return err
			}
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
		case <-o.Wake:
			if o.Ended == nil || !o.Ended() {
				o.Wake = nil
			}
		}
	}
}

// successor opens the log that was begun after f: the oldest of those that were rotated later, so that a slow reader misses none, or else
// the one at path. One that is empty is none: the runtime may still write to f. ok: there is one.
func successor(path string, f *os.File) (next source, ok bool, err error) {
	now, err := os.Stat(path)
	if err != nil {
		if os.IsNotExist(err) {
			err = nil // in the middle of a rotation
		}
		return next, false, err
	}
	was, err := f.Stat()
	if err != nil || os.SameFile(now, was) {
		return next, false, err
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) // what it is called now, also when it is gone
	if err != nil {
		return next, false, err
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, " (deleted)"), packed)
	old, err := rotated(path)
	if err != nil {
		return next, false, err
	}
	for _, o := range old {
		if filepath.Base(name) < filepath.Base(strings.TrimSuffix(o, packed)) && !strings.HasSuffix(o, unfinished) {
			next, err = openRotated(o)
			return next, err == nil, err
		}
	}
	if now.Size() == 0 {
		return next, false, nil
	}
	file, err := os.Open(path)
	return source{file, file}, err == nil, err
}

// openRotated opens an old log, which may be compressed meanwhile.
func openRotated(path string) (source, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) && !strings.HasSuffix(path, packed) {
		path += packed
		f, err = os.Open(path)
	}
	if err != nil || !strings.HasSuffix(path, packed) {
		return source{f, f}, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return source{}, errors.Join(err, f.Close())
	}
	return source{z, f}, nil
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
