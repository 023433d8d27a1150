package localvolume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"proa.dev/kit/atomicfile"
)

// store is the directories of all volumes.
type store struct {
	dir    string
	quotas bool // the file system has project quotas

	mu   sync.Mutex     // guards the files of dir, and what they say; and
	busy map[string]int // the volumes that are being copied, from or to
}

// record is what is known of a volume.
type record struct {
	Bytes   int64  `json:"bytes"`             // how large it may become
	Project uint32 `json:"project,omitempty"` // of its quota; 0: it has none
	Partial bool   `json:"partial,omitempty"` // it is being copied, or a process that was at it has ended
}

var (
	errNotFound = errors.New("no such volume")
	errTooSmall = errors.New("the file system is smaller than the volume")
	errBusy     = errors.New("the volume is being copied")
	errNoQuota  = errors.New("the file system has no project quotas: the size cannot be enforced")
)

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("directory of local volumes: %w", err)
	}
	s := &store{dir: dir, quotas: hasQuotas(dir), busy: map[string]int{}}
	left, err := filepath.Glob(filepath.Join(dir, ".removed-*"))
	if err != nil {
		return nil, err
	}
	for _, path := range left { // an earlier process was at it
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("remove a former local volume: %w", err)
		}
	}
	return s, nil
}

func (s *store) quota() string {
	if s.quotas {
		return "project"
	}
	return "none"
}

func (s *store) path(id string) string { return filepath.Join(s.dir, id) }

// valid says whether an id is one that this driver may have given.
func valid(id string) bool {
	return id != "" && len(id) <= 200 && !strings.ContainsAny(id, "/\x00") && !strings.HasPrefix(id, ".") && !strings.HasSuffix(id, ".json")
}

func (s *store) find(id string) (*record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(id)
}

// read reads what is known of a volume that can be used. s.mu is held.
func (s *store) read(id string) (*record, error) {
	r, err := s.load(id)
	if err == nil && r.Partial {
		return nil, errNotFound
	}
	return r, err
}

// load reads what is known of a volume. s.mu is held.
func (s *store) load(id string) (*record, error) {
	if !valid(id) {
		return nil, errNotFound
	}
	text, err := os.ReadFile(s.path(id) + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("local volume %s: %w", id, err)
	}
	return r, nil
}

func (s *store) write(id string, r *record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.path(id)+".json", text, 0o600)
}

// make makes a volume, or finds it as it is.
func (s *store) make(id string, bytes int64, enforce bool) (*record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !valid(id) {
		return nil, fmt.Errorf("%q cannot be the name of a volume", id)
	}
	r, err := s.load(id)
	switch {
	case err == nil && r.Partial:
		return nil, errBusy
	case err == nil:
		return r, os.MkdirAll(s.path(id), 0o777)
	case !errors.Is(err, errNotFound):
		return nil, err
	}
	return s.create(id, &record{Bytes: bytes}, enforce)
}

// create makes the directory of a volume, and writes down what is known of it. s.mu is held.
func (s *store) create(id string, r *record, enforce bool) (*record, error) {
	if err := s.room(r.Bytes, enforce); err != nil {
		return nil, err
	}
	if s.quotas {
		var err error
		if r.Project, err = s.freeProject(); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(s.path(id), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := os.Chmod(s.path(id), 0o777); err != nil { // whatever the umask
		return nil, err
	}
	if r.Project != 0 {
		if err := setProject(s.path(id), r.Project); err != nil {
			return nil, err
		}
		if err := setLimit(s.path(id), r.Project, r.Bytes); err != nil {
			return nil, err
		}
	}
	return r, s.write(id, r)
}

// copy makes a volume with what is in another, or finds it as it is. Until it is whole nobody can use it.
func (s *store) copy(ctx context.Context, id, from string, bytes int64, enforce bool) (*record, error) {
	r, whole, err := s.begin(id, from, bytes, enforce)
	if err != nil || whole {
		return r, err
	}
	err = copyTree(ctx, s.path(from), s.path(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range []string{id, from} {
		if s.busy[id]--; s.busy[id] == 0 {
			delete(s.busy, id)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy local volume %s: %w", from, err), s.erase(id, r))
	}
	r.Partial = false
	return r, s.write(id, r)
}

// begin makes the empty directory of a copy, and has nobody take away either side; whole says that the copy is there already.
func (s *store) begin(id, from string, bytes int64, enforce bool) (r *record, whole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !valid(id):
		return nil, false, fmt.Errorf("%q cannot be the name of a volume", id)
	case s.busy[id] > 0:
		return nil, false, errBusy
	}
	r, err = s.load(id)
	switch {
	case err == nil && !r.Partial:
		return r, true, nil
	case err == nil: // an earlier process was at it
		if err := s.erase(id, r); err != nil {
			return nil, false, err
		}
	case !errors.Is(err, errNotFound):
		return nil, false, err
	}
	if _, err := s.read(from); err != nil {
		return nil, false, fmt.Errorf("%w: %s", err, from)
	}
	if r, err = s.create(id, &record{Bytes: bytes, Partial: true}, enforce); err == nil {
		s.busy[id]++
		s.busy[from]++
	}
	return r, false, err
}

// room says why a volume of that size cannot be.
func (s *store) room(bytes int64, enforce bool) error {
	if enforce && !s.quotas {
		return errNoQuota
	}
	total, _, err := s.space()
	if err == nil && bytes > total {
		return errTooSmall
	}
	return err
}

func (s *store) space() (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// firstProject leaves the small numbers to people.
const firstProject = 1 << 20

// freeProject is a project that no volume has. s.mu is held.
func (s *store) freeProject() (uint32, error) {
	used := map[uint32]bool{}
	files, err := filepath.Glob(filepath.Join(s.dir, "*.json"))
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		r, err := s.load(strings.TrimSuffix(filepath.Base(f), ".json"))
		if err != nil {
			return 0, err
		}
		used[r.Project] = true
	}
	p := uint32(firstProject)
	for used[p] {
		p++
	}
	return p, nil
}

// grow lets a volume become larger. It never makes it smaller.
func (s *store) grow(id string, bytes int64) (*record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.read(id)
	if err != nil || bytes <= r.Bytes {
		return r, err
	}
	if err := s.room(bytes, false); err != nil {
		return nil, err
	}
	if r.Project != 0 {
		if err := setLimit(s.path(id), r.Project, bytes); err != nil {
			return nil, err
		}
	}
	r.Bytes = bytes
	return r, s.write(id, r)
}

// remove removes a volume and all that is in it. One that is not there is no error.
func (s *store) remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[id] > 0 {
		return errBusy
	}
	r, err := s.load(id)
	if errors.Is(err, errNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.erase(id, r)
}

// erase is remove for a volume of which r is known. s.mu is held.
func (s *store) erase(id string, r *record) error {
	gone := filepath.Join(s.dir, ".removed-"+id)
	if err := os.Rename(s.path(id), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if r.Project != 0 {
		if err := setLimit(s.dir, r.Project, 0); err != nil {
			return err
		}
	}
	return os.Remove(s.path(id) + ".json")
}
