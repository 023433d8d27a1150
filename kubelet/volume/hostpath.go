package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
)

// checkHostPath makes or checks a path of the node, as its type says. Without a type it may be anything; a directory is made where there is
// nothing, as runtimes do that are given such a path.
func checkHostPath(path string, kind *core.HostPathType) error {
	if kind == nil || *kind == core.HostPathUnset {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return os.MkdirAll(path, 0o755)
		}
		return nil
	}
	switch *kind {
	case core.HostPathDirectoryOrCreate:
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return os.MkdirAll(path, 0o755)
		}
		return expect(path, "directory", fs.FileMode.IsDir)
	case core.HostPathFileOrCreate:
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return err
			}
			return f.Close()
		}
		return expect(path, "file", fs.FileMode.IsRegular)
	case core.HostPathDirectory:
		return expect(path, "directory", fs.FileMode.IsDir)
	case core.HostPathFile:
		return expect(path, "file", fs.FileMode.IsRegular)
	case core.HostPathSocket:
		return expect(path, "socket file", func(m fs.FileMode) bool { return m&fs.ModeSocket != 0 })
	case core.HostPathCharDev:
		return expect(path, "character device", func(m fs.FileMode) bool { return m&fs.ModeCharDevice != 0 })
	case core.HostPathBlockDev:
		return expect(path, "block device", func(m fs.FileMode) bool {
			return m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0
		})
	}
	return fmt.Errorf("%s is an invalid volume type", *kind)
}

func expect(path, what string, ok func(fs.FileMode) bool) error {
	i, err := os.Stat(path)
	if err != nil || !ok(i.Mode()) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", filepath.Clean(path), what)
	}
	return nil
}
