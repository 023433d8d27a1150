package archive

import (
	"golang.org/x/sys/unix"
	"io/fs"
	"os"
	"path/filepath"
)

// Tree lists a directory tree of this machine as the files of a layer, with owners and modes. Sockets, pipes and devices
// are left out.
func Tree(root string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f := File{Path: rel, Mode: info.Mode()}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		f.UID, f.GID = int(st.Uid), int(st.Gid)
		switch info.Mode().Type() {
		case fs.ModeDir:
		case fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			f.Content = []byte(target)
		case 0:
			f.Source = p
		default:
			return nil
		}
		files = append(files, f)
		return nil
	})
	return files, err
}
