package logs

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of a container's logs, as Kubernetes' defaults have them.
const (
	MaxSize  = 10 << 20 // bytes of the current file before it is rotated
	MaxFiles = 5        // files of one instance, the current one included
	Interval = 10 * time.Second
)

// Bounds are how logs are kept. A zero field has the default.
type Bounds struct {
	MaxSize  int64         // bytes; negative: logs are not rotated
	MaxFiles int           // at least 2
	Interval time.Duration // how often the sizes are looked at
	Workers  int           // how many logs are rotated at a time; default 1
}

// Complete fills the defaults in.
func (b Bounds) Complete() Bounds {
	return Bounds{cmp.Or(b.MaxSize, MaxSize), cmp.Or(b.MaxFiles, MaxFiles), cmp.Or(b.Interval, Interval), cmp.Or(b.Workers, 1)}
}

// Source says which logs are being written, and has the runtime open one anew. Reopen is called for several logs at a time.
type Source interface {
	// Running are the logs of running containers: container id -> path.
	Running(ctx context.Context) map[string]string
	// Reopen makes the runtime write to a new file at the old path.
	Reopen(ctx context.Context, containerID string) error
}

// Rotator bounds the logs of running containers.
type Rotator struct {
	from   Source
	bounds Bounds
	log    *slog.Logger
}

// NewRotator starts nothing.
func NewRotator(from Source, b Bounds, log *slog.Logger) *Rotator {
	return &Rotator{from, b.Complete(), log}
}

// Run looks at the sizes again and again until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	if r.bounds.MaxSize < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	t := time.NewTicker(r.bounds.Interval)
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

// Round rotates every log that is too large, several at a time, and has those opened anew that somebody took away.
func (r *Rotator) Round(ctx context.Context, now time.Time) {
	var busy sync.WaitGroup // waited for here
	free := make(chan struct{}, r.bounds.Workers)
	for id, path := range r.from.Running(ctx) {
		info, err := os.Stat(path)
		gone := errors.Is(err, fs.ErrNotExist)
		if !gone && (err != nil || info.Size() < r.bounds.MaxSize) {
			continue
		}
		free <- struct{}{}
		busy.Go(func() {
			defer func() { <-free }()
			what, do := "log not rotated", func() error { return r.rotate(ctx, id, path, now) }
			if gone {
				what, do = "log not opened anew", func() error { return r.from.Reopen(ctx, id) }
			}
			if err := do(); err != nil && ctx.Err() == nil {
				r.log.Warn(what, "path", path, "err", err)
			}
		})
	}
	busy.Wait()
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
	for len(old) > r.bounds.MaxFiles-1 {
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
