package localvolume

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's numbers for project quotas: quotactl_fd(2), and the attributes of <linux/fs.h>.
const (
	getState, setQuota = 0x5805, 0x800008 // the first is XFS's, and ext4 answers it as well
	projectQuota       = 2
	projectEnforced    = 1 << 5 // FS_QUOTA_PDQ_ENFD
	validLimits        = 1      // QIF_BLIMITS
	getAttributes      = 0x801c581f
	setAttributes      = 0x401c5820
	inheritProject     = 0x200
)

// limits is struct if_dqblk: blocks are of 1024 bytes.
type limits struct {
	hardBlocks, softBlocks, space, hardInodes, softInodes, inodes, blockTime, inodeTime uint64
	valid                                                                               uint32
	_                                                                                   uint32
}

// state is the beginning of struct fs_quota_stat, and room for the rest of it.
type state struct {
	version int8
	flags   uint16
	_       [124]byte
}

// attributes is struct fsxattr.
type attributes struct {
	flags, extent, extents, project, cow uint32
	_                                    [8]byte
}

func quotactl(dir string, command int, id uint32, arg unsafe.Pointer) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, e := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), uintptr(command<<8|projectQuota), uintptr(id), uintptr(arg), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// hasQuotas says whether the file system of dir holds projects to their limits now.
func hasQuotas(dir string) bool {
	var s state
	return quotactl(dir, getState, 0, unsafe.Pointer(&s)) == nil && s.flags&projectEnforced != 0
}

// setProject gives a directory, and what will be in it, to a project.
func setProject(dir string, project uint32) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	var a attributes
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), getAttributes, uintptr(unsafe.Pointer(&a))); e != 0 {
		return fmt.Errorf("read the attributes of %s: %w", dir, e)
	}
	a.flags |= inheritProject
	a.project = project
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), setAttributes, uintptr(unsafe.Pointer(&a))); e != 0 {
		return fmt.Errorf("give %s to project %d: %w", dir, project, e)
	}
	return nil
}

// setLimit bounds what a project may take; 0 is no bound.
func setLimit(dir string, project uint32, bytes int64) error {
	l := limits{hardBlocks: uint64(bytes+1023) / 1024, valid: validLimits}
	if err := quotactl(dir, setQuota, project, unsafe.Pointer(&l)); err != nil {
		return fmt.Errorf("limit project %d to %d bytes: %w", project, bytes, err)
	}
	return nil
}
