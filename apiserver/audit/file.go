package audit

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// File is a log file with one event a line, which is put aside when it has grown enough: audit.log becomes
// audit-2026-01-02T03-04-05.678.log, and with Compress that gets ".gz".
type File struct {
	FileConfig
	mu   sync.Mutex // guards below
	file *os.File
	size int64
	wait sync.WaitGroup // for the tidying of the last rotation
}

// FileConfig says where and how much. Path "-" is the standard output. Zero means no limit.
type FileConfig struct {
	Path       string
	MaxSize    int64 // bytes; default 100 MiB
	MaxAge     time.Duration
	MaxBackups int
	Compress   bool
}

const defaultSize = 100 << 20

// backupTime is the form of the time in the name of a file that was put aside. It sorts by time.
const backupTime = "2006-01-02T15-04-05.000"

// OpenFile opens or creates the file, for root only, and appends to it.
func OpenFile(c FileConfig) (*File, error) {
	if c.MaxSize <= 0 {
		c.MaxSize = defaultSize
	}
	f := &File{FileConfig: c}
	if c.Path == "-" {
		f.file = os.Stdout
		return f, nil
	}
	return f, f.open()
}

func (f *File) open() error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return fmt.Errorf("make the folder of the audit log: %w", err)
	}
	file, err := os.OpenFile(f.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("look at the audit log: %w", err), file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write implements Sink.
func (f *File) Write(events []*Event) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, e := range events {
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("encode an audit event: %w", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Path != "-" && f.size > 0 && f.size+int64(b.Len()) > f.MaxSize {
		if err := f.rotate(time.Now()); err != nil {
			return err
		}
	}
	n, err := f.file.Write(b.Bytes())
	f.size += int64(n)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// rotate puts the file aside and begins a new one. The caller holds mu.
func (f *File) rotate(now time.Time) error {
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("close the audit log: %w", err)
	}
	ext := filepath.Ext(f.Path)
	aside := strings.TrimSuffix(f.Path, ext) + "-" + now.UTC().Format(backupTime) + ext
	if err := os.Rename(f.Path, aside); err != nil {
		return errors.Join(fmt.Errorf("put the audit log aside: %w", err), f.open())
	}
	if err := f.open(); err != nil {
		return err
	}
	f.wait.Wait() // one at a time; it has had a whole file's time
	f.wait.Go(func() { f.tidy(aside, now) })
	return nil
}

// tidy compresses the file that was put aside and deletes those that are too old or too many. What does not work is tried again by the
// next rotation, since it looks at all files.
func (f *File) tidy(aside string, now time.Time) {
	old := f.backups()
	for i, path := range old { // the latest first
		at, _ := f.timeOf(path)
		if f.MaxBackups > 0 && i >= f.MaxBackups || f.MaxAge > 0 && now.Sub(at) > f.MaxAge {
			_ = os.Remove(path)
			continue
		}
		if f.Compress && !strings.HasSuffix(path, ".gz") {
			_ = compress(path)
		}
	}
}

// backups are the files that were put aside, the latest first.
func (f *File) backups() []string {
	ext := filepath.Ext(f.Path)
	found, err := filepath.Glob(escape(strings.TrimSuffix(f.Path, ext)) + "-*" + escape(ext) + "*")
	if err != nil {
		return nil // only a bad pattern, and it is escaped
	}
	found = slices.DeleteFunc(found, func(p string) bool { _, ok := f.timeOf(p); return !ok })
	slices.SortFunc(found, func(a, b string) int { return strings.Compare(b, a) })
	return found
}

// timeOf is the time in the name of a file that was put aside.
func (f *File) timeOf(path string) (time.Time, bool) {
	ext := filepath.Ext(f.Path)
	s, ok := strings.CutPrefix(path, strings.TrimSuffix(f.Path, ext)+"-")
	t, err := time.Parse(backupTime, strings.TrimSuffix(strings.TrimSuffix(s, ".gz"), ext))
	return t, ok && err == nil
}

var escapes = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)

func escape(s string) string { return escapes.Replace(s) }

// compress makes path.gz of path.
func compress(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := path + ".gz.tmp"
	out, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp, path+".gz"); err != nil {
		return err
	}
	return os.Remove(path)
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wait.Wait()
	if f.Path == "-" {
		return nil
	}
	return f.file.Close()
}
