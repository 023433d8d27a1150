package logs

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The bounds of a container's logs, as Kubernetes' defaults have them.
const (
	MaxSize  = 10 << 20 // bytes of the current file before it is rotated
	MaxFiles = 5        // files of one instance, the current one included
	interval = 10 * time.Second
)

// Source says which logs are being written, and has the runtime open one anew.
type Source interface {
	// Running are the logs of running containers: container id -> path.
	Running(ctx context.Context) map[string]string
	// Reopen makes the runtime write to a new file at the old path.
	Reopen(ctx context.Context, containerID string) error
}

// Rotator bounds the logs of running containers.
type Rotator struct {
	from Source
	size int64
	keep int
	log  *slog.Logger
}

// NewRotator starts nothing. Zero for size and keep is MaxSize and MaxFiles.
func NewRotator(from Source, size int64, keep int, log *slog.Logger) *Rotator {
	return &Rotator{from, cmp.Or(size, MaxSize), cmp.Or(keep, MaxFiles), log}
}

// Run looks at the sizes every 10 seconds until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-t.C:
			r.Round(ctx, now)
		}
	}
}

// Round rotates every log that is too large.
func (r *Rotator) Round(ctx context.Context, now time.Time) {
	for id, path := range r.from.Running(ctx) {
		info, err := os.Stat(path)
		if err != nil || info.Size() < r.size {
			continue
		}
		if err := r.rotate(ctx, id, path, now); err != nil && ctx.Err() == nil {
			r.log.Warn("log not rotated", "path", path, "err", err)
		}
	}
}

// rotate makes path one of the old logs. The order matters if the process dies in between: a log that was renamed but not opened
// anew goes on under its new name, and is found again by its place in the directory.
func (r *Rotator) rotate(ctx context.Context, id, path string, now time.Time) error {
	if err := r.compress(path); err != nil {
		return err
	}
	old := path + "." + now.UTC().Format("20060102-150405")
	if err := os.Rename(path, old); err != nil {
		return err
	}
	if err := r.from.Reopen(ctx, id); err != nil {
		return errors.Join(fmt.Errorf("reopen: %w", err), os.Rename(old, path))
	}
	return r.sweep(path)
}

// What the names of compressed logs end with, and of those that are being compressed.
const (
	packed     = ".gz"
	unfinished = ".tmp"
)

// rotated are the old logs of path, the oldest first.
func rotated(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+".") {
			out = append(out, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	slices.Sort(out) // by their times
	return out, nil
}

// sweep removes the oldest logs beyond those to keep.
func (r *Rotator) sweep(path string) error {
	old, err := rotated(path)
	if err != nil {
		return err
	}
	var errs []error
	for len(old) > r.keep-1 {
		errs = append(errs, os.Remove(old[0]))
		old = old[1:]
	}
	return errors.Join(errs...)
}

// compress compresses the old logs. The newest rotated one is not there yet: somebody may still follow it.
func (r *Rotator) compress(path string) error {
	old, err := rotated(path)
	if err != nil {
		return err
	}
	for _, o := range old {
		switch {
		case strings.HasSuffix(o, unfinished): // of a compression that did not end
			if err := os.Remove(o); err != nil {
				return err
			}
		case !strings.HasSuffix(o, packed):
			if err := compressFile(o); err != nil {
				return err
			}
		}
	}
	return nil
}

func compressFile(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := path + unfinished
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp, path+packed); err != nil {
		return err
	}
	return os.Remove(path)
}
