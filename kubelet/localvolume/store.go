package localvolume

import (
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

	mu sync.Mutex // guards the files of dir, and what they say
}

// record is what is known of a volume.
type record struct {
	Bytes   int64  `json:"bytes"`             // how large it may become
	Project uint32 `json:"project,omitempty"` // of its quota; 0: it has none
}

var (
	errNotFound = errors.New("no such volume")
	errTooSmall = errors.New("the file system is smaller than the volume")
	errNoQuota  = errors.New("the file system has no project quotas: the size cannot be enforced")
)

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("directory of local volumes: %w", err)
	}
	s := &store{dir: dir, quotas: hasQuotas(dir)}
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

// read reads what is known of a volume. s.mu is held.
func (s *store) read(id string) (*record, error) {
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
	if r, err := s.read(id); err == nil {
		return r, os.MkdirAll(s.path(id), 0o777)
	} else if !errors.Is(err, errNotFound) {
		return nil, err
	}
	if err := s.room(bytes, enforce); err != nil {
		return nil, err
	}
	r := &record{Bytes: bytes}
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
		if err := setLimit(s.path(id), r.Project, bytes); err != nil {
			return nil, err
		}
	}
	return r, s.write(id, r)
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
		r, err := s.read(strings.TrimSuffix(filepath.Base(f), ".json"))
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
	r, err := s.read(id)
	if errors.Is(err, errNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
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
