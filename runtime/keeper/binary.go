package keeper

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The folder is embedded rather than the file, so that a clone without the built binary compiles; such a proa needs
// the path of a keeper in its configuration.
//
//go:embed embedded
var embedded embed.FS

// ErrNoBinary reports a proa built without its keeper.
var ErrNoBinary = errors.New("this build carries no keeper binary: build with make, or name one (KeeperPath)")

// Binary is the keeper program, ready to be executed.
type Binary struct{ file *os.File }

// firstFree is a descriptor number above all that a keeper is born with.
const firstFree = 16

// OpenBinary seals the keeper program into a memory file: the one at path, or the embedded one if path is empty.
func OpenBinary(path string) (*Binary, error) {
	var (
		data []byte
		err  error
	)
	if path != "" {
		data, err = os.ReadFile(path)
	} else if data, err = embedded.ReadFile("embedded/proa-keeper"); err != nil {
		err = ErrNoBinary
	}
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(data, []byte("\x7fELF")) {
		return nil, fmt.Errorf("keeper binary %q is not an ELF file", path)
	}
	fd, err := unix.MemfdCreate("proa-keeper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3 every memory file may be executed
		fd, err = unix.MemfdCreate("proa-keeper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memory file for the keeper (is sysctl vm.memfd_noexec 2?): %w", err)
	}
	// It is executed by its number, in a child whose lowest descriptors are the keeper's own: out of their way with it.
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstFree)
	unix.Close(fd)
	if err != nil {
		return nil, fmt.Errorf("memory file for the keeper: %w", err)
	}
	f := os.NewFile(uintptr(high), "proa-keeper")
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, fmt.Errorf("fill the keeper's memory file: %w", err)
	}
	// Executable for all, readable for none: a stage in a user namespace is then out of reach of its processes, whatever they may there.
	if err := f.Chmod(0o711); err != nil {
		f.Close()
		return nil, fmt.Errorf("protect the keeper's memory file: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal the keeper's memory file: %w", err)
	}
	return &Binary{f}, nil
}

// Path is where this process may execute the program from, until Close.
func (b *Binary) Path() string { return fmt.Sprintf("/proc/self/fd/%d", b.file.Fd()) }

// Close gives up the daemon's hold; keepers that run keep theirs.
func (b *Binary) Close() error { return b.file.Close() }
