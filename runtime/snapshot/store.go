package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// The errors a caller may want to tell apart.
var (
	// ErrNotFound says that a layer, or one below it, is not unpacked.
	ErrNotFound = errors.New("no such layer")
	// ErrExists says that the key has a writable layer already.
	ErrExists = errors.New("snapshot exists")
)

// Rootfs is what overlayfs joins into one root file system. Whoever mounts it also unmounts it before Release.
type Rootfs struct {
	Lower []string // read-only directories, top-most layer first; never empty
	Upper string   // takes what the container writes
	Work  string   // overlayfs' scratch directory, on the same file system as Upper
}

// Layer is one layer of an image, lowest first in every list.
type Layer struct {
	DiffID digest.Digest                 // digest of the uncompressed tar
	Open   func() (io.ReadCloser, error) // the tar: plain, gzip or zstd
}

// Config says where a Store keeps its directories.
type Config struct {
	Root   string
	Limits Limits
	Log    *slog.Logger
}

// Store is one directory of layers and snapshots. All methods are safe for concurrent use by one process.
type Store struct {
	root   string
	limits Limits
	log    *slog.Logger
	boot   string        // identity of this boot of the machine
	slots  chan struct{} // one token for each layer that unpacks at this moment
	kick   chan struct{} // wakes Run
	empty  string        // the one lower directory of an image without layers

	mu     sync.Mutex // guards the fields below, and renames out of layers/ and active/
	layers map[digest.Digest]*layer
	active map[string]digest.Digest        // key -> chain ID of the layer below, "" for none
	busy   map[digest.Digest]chan struct{} // layers being unpacked; closed at the end
	held   map[digest.Digest]int           // Hold
	spare  []string                        // empty pairs of directories, ready to become active
	fresh  []digest.Digest                 // published, not known to be on disk
}

// layer is a published layer. It does not change.
type layer struct {
	parent digest.Digest // "" for the lowest
	usage  Usage
}

// Usage is what directories take on disk.
type Usage struct {
	Bytes  int64
	Inodes int64
}

// Open makes the directories where they are missing and reads what is there. What a crash left half done goes to the
// trash, which Run empties.
func Open(c Config) (*Store, error) {
	s := &Store{
		root:   c.Root,
		limits: c.Limits.withDefaults(),
		log:    c.Log,
		slots:  make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
		kick:   make(chan struct{}, 1),
		empty:  filepath.Join(c.Root, "empty"),
		layers: make(map[digest.Digest]*layer),
		active: make(map[string]digest.Digest),
		busy:   make(map[digest.Digest]chan struct{}),
		held:   make(map[digest.Digest]int),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, dir := range []string{"layers", "active", "spare", "trash", "empty"} {
		// Others may pass but not look: a container's user needs to reach the files of its layers.
		if err := os.MkdirAll(filepath.Join(c.Root, dir), 0o711); err != nil {
			return nil, fmt.Errorf("make snapshot store: %w", err)
		}
	}
	if err := os.Chmod(s.empty, 0o755); err != nil {
		return nil, fmt.Errorf("make snapshot store: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot identity: %w", err)
	}
	s.boot = strings.TrimSpace(string(boot))
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("read snapshot store: %w", err)
	}
	s.wake()
	return s, nil
}

// load fills the tables from the directories.
func (s *Store) load() error {
	layers, err := os.ReadDir(filepath.Join(s.root, "layers"))
	if err != nil {
		return err
	}
	for _, e := range layers {
		if err := s.loadLayer(e.Name()); err != nil {
			return err
		}
	}
	active, err := os.ReadDir(filepath.Join(s.root, "active"))
	if err != nil {
		return err
	}
	for _, e := range active {
		key, chain, ok := parseActive(e.Name())
		if ok {
			s.active[key] = chain
		} else if err := s.discard("active", e.Name()); err != nil {
			return err
		}
	}
	// A spare may be half made: a new one costs less than a look.
	spare, err := os.ReadDir(filepath.Join(s.root, "spare"))
	if err != nil {
		return err
	}
	for _, e := range spare {
		if err := s.discard("spare", e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) loadLayer(name string) error {
	chain, ok := chainOf(name)
	dir := filepath.Join(s.root, "layers", name)
	boot, err := os.Readlink(filepath.Join(dir, "unsynced"))
	unsynced := err == nil
	if !ok || unsynced && boot != s.boot {
		if ok {
			s.log.Warn("layer was not on disk when the machine stopped, will be unpacked again", "layer", chain)
		}
		return s.discard("layers", name)
	}
	l := &layer{usage: parseUsage(dir)}
	switch parent, err := os.Readlink(filepath.Join(dir, "parent")); {
	case err == nil:
		if l.parent, ok = chainOf(parent); !ok {
			return s.discard("layers", name)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	s.layers[chain] = l
	if unsynced {
		s.fresh = append(s.fresh, chain)
	}
	return nil
}

func parseUsage(dir string) Usage {
	// A layer without this is whole all the same: usage is for show.
	text, err := os.Readlink(filepath.Join(dir, "usage"))
	if err != nil {
		return Usage{}
	}
	b, n, _ := strings.Cut(text, ".")
	var u Usage
	u.Bytes, _ = strconv.ParseInt(b, 10, 64)
	u.Inodes, _ = strconv.ParseInt(n, 10, 64)
	return u
}

// dirName is the directory of a layer: the hex digits, with the algorithm in front where it is not SHA-256.
func dirName(chain digest.Digest) string {
	if chain.Algorithm() == digest.SHA256 {
		return chain.Encoded()
	}
	return chain.Algorithm().String() + "-" + chain.Encoded()
}

// chainOf is the reverse of dirName.
func chainOf(name string) (digest.Digest, bool) {
	alg, hex, ok := strings.Cut(name, "-")
	if !ok {
		alg, hex = "sha256", name
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(alg), hex)
	return d, d.Validate() == nil
}

// ChainIDs returns for each layer the name of it together with all below it (OCI image-spec, config.md, "Layer ChainID").
func ChainIDs(diffIDs []digest.Digest) []digest.Digest {
	chains := make([]digest.Digest, len(diffIDs))
	for i, d := range diffIDs {
		chains[i] = d
		if i > 0 {
			chains[i] = digest.FromString(chains[i-1].String() + " " + d.String())
		}
	}
	return chains
}

// Top is the chain ID of a whole image, "" for one without layers.
func Top(diffIDs []digest.Digest) digest.Digest {
	if len(diffIDs) == 0 {
		return ""
	}
	chains := ChainIDs(diffIDs)
	return chains[len(chains)-1]
}

// Has says whether the layer and all below it are unpacked.
func (s *Store) Has(chain digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.stack(chain)
	return err == nil
}

// stack lists the layers of a chain, top-most first; the caller holds mu.
func (s *Store) stack(chain digest.Digest) ([]digest.Digest, error) {
	var stack []digest.Digest
	for c := chain; c != ""; {
		l, ok := s.layers[c]
		if !ok {
			return nil, fmt.Errorf("layer %s: %w", c, ErrNotFound)
		}
		stack = append(stack, c)
		c = l.parent
	}
	return stack, nil
}

func (s *Store) layerFS(chain digest.Digest) string {
	return filepath.Join(s.root, "layers", dirName(chain), "fs")
}

// lower lists the directories of a stack.
func (s *Store) lower(stack []digest.Digest) []string {
	if len(stack) == 0 {
		return []string{s.empty}
	}
	dirs := make([]string, len(stack))
	for i, c := range stack {
		dirs[i] = s.layerFS(c)
	}
	return dirs
}

// Usage is what all layers take; LayerUsage what one takes.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var u Usage
	for _, l := range s.layers {
		u.Bytes += l.usage.Bytes
		u.Inodes += l.usage.Inodes
	}
	return u
}

// LayerUsage is what one layer takes without those below it, zero when it is not here.
func (s *Store) LayerUsage(chain digest.Digest) Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.layers[chain]; ok {
		return l.usage
	}
	return Usage{}
}
