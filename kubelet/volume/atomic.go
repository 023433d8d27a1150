package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	dataLink = "..data"
	tmpLink  = "..data_tmp"
)

// writeAtomic makes dir show exactly the files of p, all at once: readers see the old set or the new one, never a mixture. own is
// called on the new directory before it becomes visible. Nothing is written if nothing changed.
//
//	dir/key          -> ..data/key
//	dir/..data       -> ..2026_11_22_10_15_03.123456789
//	dir/..2026.../key   the data
func writeAtomic(dir string, p payload, now time.Time, own func(fresh string) error) error {
	for path := range p {
		if err := checkPath(path); err != nil {
			return err
		}
	}
	data := filepath.Join(dir, dataLink)
	old, err := os.Readlink(data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && same(filepath.Join(dir, old), p) {
		return link(dir, p)
	}
	fresh, err := os.MkdirTemp(dir, now.UTC().Format("..2006_01_02_15_04_05.")+"*")
	if err != nil {
		return err
	}
	err = errors.Join(os.Chmod(fresh, 0o755), fill(fresh, p))
	if err == nil {
		err = own(fresh)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	tmp := filepath.Join(dir, tmpLink)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Base(fresh), tmp); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.Rename(tmp, data); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := link(dir, p); err != nil {
		return err
	}
	return sweep(dir, filepath.Base(fresh), p)
}

// checkPath refuses what would leave the volume or collide with the writer's own names.
func checkPath(path string) error {
	if path == "" || filepath.IsAbs(path) || len(path) > 4096 {
		return fmt.Errorf("invalid path: must be relative path: %s", path)
	}
	for _, part := range strings.Split(path, "/") {
		if part == ".." {
			return fmt.Errorf("invalid path: must not contain '..': %s", path)
		}
	}
	if strings.HasPrefix(path, "..") {
		return fmt.Errorf("invalid path: must not start with '..': %s", path)
	}
	return nil
}

func fill(dir string, p payload) error {
	for path, f := range p {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, f.data, 0o600); err != nil {
			return err
		}
		if f.uid != nil {
			if err := os.Chown(full, int(*f.uid), -1); err != nil {
				return err
			}
		}
		if err := os.Chmod(full, fs.FileMode(f.mode)&0o777); err != nil { // whatever the umask
			return err
		}
	}
	return nil
}

// same says whether dir holds exactly the data of p. Modes do not change while a pod lives.
func same(dir string, p payload) bool {
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := p[rel]
		if !ok {
			return errDiffers
		}
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, f.data) {
			return errDiffers
		}
		n++
		return nil
	})
	return err == nil && n == len(p)
}

var errDiffers = errors.New("differs")

// link makes the names that users see.
func link(dir string, p payload) error {
	for path := range p {
		top, _, _ := strings.Cut(path, "/")
		err := os.Symlink(filepath.Join(dataLink, top), filepath.Join(dir, top))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// sweep removes the names that are gone and every data directory but the current one.
func sweep(dir, current string, p payload) error {
	keep := map[string]bool{dataLink: true, current: true}
	for path := range p {
		top, _, _ := strings.Cut(path, "/")
		keep[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !keep[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
