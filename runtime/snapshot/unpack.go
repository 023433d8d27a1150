package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"proa.dev/runtime/content"
)

// Unpack makes every layer of an image available and returns the chain ID of the top one ("" when there are none). Layers
// that are here are not read. The others unpack side by side, and two callers share a layer that both want. The caller
// holds the top chain ID (Hold) until something that lasts refers to it.
func (s *Store) Unpack(ctx context.Context, layers []Layer) (digest.Digest, error) {
	if len(layers) == 0 {
		return "", nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	diffIDs := make([]digest.Digest, len(layers))
	for i, l := range layers {
		if err := l.DiffID.Validate(); err != nil {
			return "", fmt.Errorf("layer %d: diff ID %q: %w", i, l.DiffID, err)
		}
		diffIDs[i] = l.DiffID
	}
	chains := ChainIDs(diffIDs)
	// Until the top layer is in place, nothing else says that those below it are needed.
	defer s.Hold(chains...)()
	// published[i] is closed when layer i is in place; every goroutine is waited for through the results.
	published := make([]chan struct{}, len(layers))
	results := make(chan error, len(layers))
	for i := range layers {
		published[i] = make(chan struct{})
		j := job{Layer: layers[i], chain: chains[i]}
		if i > 0 {
			j.parent, j.below = chains[i-1], published[i-1]
		}
		go func() {
			err := s.unpackOne(ctx, j)
			if err == nil {
				close(published[i])
			} else {
				err = fmt.Errorf("layer %d of %d (%s): %w", i+1, len(layers), j.DiffID, err)
				cancel(err)
			}
			results <- err
		}()
	}
	var first error
	for range layers {
		if err := <-results; err != nil && first == nil {
			first = err
		}
	}
	if first != nil {
		return "", context.Cause(ctx)
	}
	return chains[len(chains)-1], nil
}

// job is one layer to unpack.
type job struct {
	Layer
	chain, parent digest.Digest
	below         <-chan struct{} // closed when parent is in place; nil for the lowest
}

func (s *Store) unpackOne(ctx context.Context, j job) error {
	for {
		s.mu.Lock()
		_, here := s.layers[j.chain]
		other, busy := s.busy[j.chain]
		if here || !busy {
			if !here {
				s.busy[j.chain] = make(chan struct{})
			}
			s.mu.Unlock()
			if here {
				return nil
			}
			break
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.busy[j.chain])
		delete(s.busy, j.chain)
	}()
	return s.unpackAndPublish(ctx, j)
}

func (s *Store) unpackAndPublish(ctx context.Context, j job) (err error) {
	// The name does not parse as a chain ID, so whatever a crash leaves of it is swept.
	tmp, err := os.MkdirTemp(filepath.Join(s.root, "layers"), "new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := errors.Join(os.Chmod(tmp, 0o711), os.Mkdir(filepath.Join(tmp, "fs"), 0o755)); err != nil {
		return err
	}
	root, err := unix.Open(filepath.Join(tmp, "fs"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	x := newExtractor(root, s.limits)
	start := time.Now()
	if err := s.extract(ctx, j, x); err != nil {
		return err
	}
	if j.below != nil {
		select {
		case <-j.below:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.settle(x, j.parent); err != nil {
		return err
	}
	if err := s.publish(tmp, j, Usage{Bytes: x.bytes, Inodes: x.entries}); err != nil {
		return err
	}
	s.log.Debug("layer unpacked", "layer", j.chain, "entries", x.entries, "bytes", x.bytes, "took", time.Since(start))
	return nil
}

// extract unpacks the tar and checks that it is the one it claims to be.
func (s *Store) extract(ctx context.Context, j job, x *extractor) error {
	blob, err := j.Open()
	if err != nil {
		return err
	}
	defer blob.Close()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	plain, err := content.Decompress(blob)
	if err != nil {
		return err
	}
	defer plain.Close()
	hash := j.DiffID.Algorithm().Hash()
	bounded := &io.LimitedReader{R: plain, N: s.limits.Bytes}
	// Hashing goes on beside unpacking.
	r := content.ReadAhead(io.TeeReader(bounded, hash))
	err = x.run(ctx, r)
	if err == nil {
		_, err = io.CopyBuffer(io.Discard, r, x.buf) // padding counts for the digest
	}
	r.Close()
	if bounded.N == 0 {
		return fmt.Errorf("layer has more than %d bytes", s.limits.Bytes)
	}
	if err != nil {
		return err
	}
	if got := digest.NewDigest(j.DiffID.Algorithm(), hash); got != j.DiffID {
		return fmt.Errorf("the uncompressed layer has digest %s", got)
	}
	return nil
}

// publish renames a finished layer into its place.
func (s *Store) publish(tmp string, j job, u Usage) error {
	links := map[string]string{
		"unsynced": s.boot,
		"usage":    strconv.FormatInt(u.Bytes, 10) + "." + strconv.FormatInt(u.Inodes, 10),
	}
	if j.parent != "" {
		links["parent"] = dirName(j.parent)
	}
	for name, text := range links {
		if err := os.Symlink(text, filepath.Join(tmp, name)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Rename(tmp, filepath.Join(s.root, "layers", dirName(j.chain))); err != nil {
		return err
	}
	s.layers[j.chain] = &layer{parent: j.parent, usage: u}
	s.fresh = append(s.fresh, j.chain)
	s.wake()
	return nil
}
