package stage

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// become takes on the identity and the limits of p, reports it, waits for the word and executes the program. Identity
// calls are made raw, for this thread alone: executing the program ends all others.
func become(p *wire.Process, master int) error {
	who, err := LookUp(&p.User, readSmall)
	if err != nil {
		return err
	}
	if err := ownStdio(who); err != nil {
		return err
	}
	if err := takeOn(p, who); err != nil {
		return err
	}
	env := withHome(p.Env, who.Home)
	program, err := lookPath(p.Args, env)
	if err != nil {
		return err
	}
	if p.HasUmask {
		unix.Umask(int(p.Umask))
	}
	if err := report(wire.Created{PID: int64(unix.Getpid()), UID: who.UID, GID: who.GID, Groups: who.Groups}, master); err != nil {
		return err
	}
	if master >= 0 {
		unix.Close(master)
	}
	awaitStart()
	if p.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return wrap("no_new_privs", err)
		}
	}
	// Whatever was inherited by mistake is closed; ENOSYS only on kernels that the mounts above did not work on.
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return wrap("close descriptors", err)
	}
	if p.NoNewPrivs {
		if err := setSeccomp(p); err != nil {
			return err
		}
	}
	return wrap("exec "+quote(program), unix.Exec(program, p.Args, env))
}

// takeOn enters the working directory and sets limits, labels, identity and capabilities.
func takeOn(p *wire.Process, who Account) error {
	// As root first: a working directory that the user may not enter from above is still where it starts.
	entered := unix.Chdir(p.Cwd)
	for _, r := range p.Rlimits {
		lim := unix.Rlimit{Cur: r.Soft, Max: r.Hard}
		if err := unix.Prlimit(0, int(r.Kind), &lim, nil); err != nil {
			return wrap("rlimit "+strconv.Itoa(int(r.Kind)), err)
		}
	}
	if err := setLabels(p); err != nil {
		return err
	}
	// Without no_new_privs a filter may be set only while the process has CAP_SYS_ADMIN.
	if !p.NoNewPrivs {
		if err := setSeccomp(p); err != nil {
			return err
		}
	}
	if err := setIdentity(p, who); err != nil {
		return err
	}
	if entered != nil {
		if err := unix.Chdir(p.Cwd); err != nil {
			return wrap("chdir to cwd (\""+p.Cwd+"\")", err)
		}
	}
	return insideRoot()
}

func quote(s string) string { return "\"" + s + "\"" }

// ownStdio gives the standard streams to the user, so that /dev/stdout can be opened. Devices are left alone, apart from
// the terminal, which is ours.
func ownStdio(who Account) error {
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return wrap("stat stdio", err)
		}
		if uint64(st.Uid) == who.UID || st.Rdev == unix.Mkdev(1, 3) {
			continue
		}
		err := unix.Fchown(fd, int(who.UID), int(st.Gid))
		if err != nil && !is(err, unix.EINVAL, unix.EPERM, unix.EROFS) {
			return wrap("owner of stdio", err)
		}
	}
	return nil
}

// setIdentity drops the bounding set, changes groups, group and user, and sets the remaining capability sets.
func setIdentity(p *wire.Process, who Account) error {
	for c := uintptr(0); c < 64; c++ {
		if p.Caps.Bounding&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL {
			break // past the last capability of this kernel
		}
		if err != nil {
			return wrap("drop capability "+strconv.Itoa(int(c)), err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return wrap("keep capabilities", err)
	}
	groups := make([]uint32, len(who.Groups))
	for i, g := range who.Groups {
		groups[i] = uint32(g)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		return wrap("set groups", e)
	}
	gid, uid := uintptr(who.GID), uintptr(who.UID)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return wrap("set group", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return wrap("set user", e)
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0); err != nil {
		return wrap("keep capabilities", err)
	}
	return setCaps(&p.Caps)
}

func setCaps(c *wire.Caps) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&head, &have[0]); err != nil {
		return wrap("get capabilities", err)
	}
	// What the runtime itself does not have it cannot give.
	held := uint64(have[1].Permitted)<<32 | uint64(have[0].Permitted)
	permitted, effective, inheritable := c.Permitted&held, c.Effective&held, c.Inheritable&held
	data := [2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	if err := unix.Capset(&head, &data[0]); err != nil {
		return wrap("set capabilities", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return wrap("clear ambient capabilities", err)
	}
	for i := uintptr(0); i < 64; i++ {
		if c.Ambient&permitted&inheritable&(1<<i) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, i, 0, 0); err != nil {
			return wrap("raise ambient capability "+strconv.Itoa(int(i)), err)
		}
	}
	return nil
}

// sockFprog is struct sock_fprog.
type sockFprog struct {
	Len    uint16
	Filter *byte
}

func setSeccomp(p *wire.Process) error {
	if len(p.Seccomp) == 0 {
		return nil
	}
	prog := sockFprog{Len: uint16(len(p.Seccomp) / 8), Filter: &p.Seccomp[0]}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(p.SecFlags), uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return wrap("seccomp", e)
	}
	return nil
}

// setOOMScore writes oom_score_adj. Lowering it needs CAP_SYS_RESOURCE, which a host inside a sandbox may not have: the
// program then runs with the score it inherits.
func setOOMScore(p *wire.Process) error {
	if !p.HasOOMScore {
		return nil
	}
	err := writeProc("/proc/self/oom_score_adj", strconv.FormatInt(p.OOMScore, 10))
	if is(err, unix.EACCES, unix.EPERM) {
		return nil
	}
	return wrap("oom_score_adj", err)
}

// setLabels asks for security labels on exec. Callers leave them empty where the kernel has no such module.
func setLabels(p *wire.Process) error {
	if p.AppArmor != "" {
		file := "/proc/thread-self/attr/apparmor/exec" // the other belongs to the first of several modules; older kernels have it alone
		if unix.Access(file, unix.W_OK) == unix.ENOENT {
			file = "/proc/thread-self/attr/exec"
		}
		if err := writeProc(file, "exec "+p.AppArmor); err != nil {
			return wrap("apparmor profile "+p.AppArmor, err)
		}
	}
	if p.SELinux != "" {
		if err := writeProc("/proc/thread-self/attr/exec", p.SELinux); err != nil {
			return wrap("selinux label "+p.SELinux, err)
		}
	}
	return nil
}

// ensureCwd makes the working directory before the root may become read-only.
func ensureCwd(root int, p *wire.Process) error {
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if p.Cwd == "/" || p.CwdStrict {
		return nil
	}
	err := makeIn(root, p.Cwd, false)
	if is(err, unix.EROFS, unix.ENOTDIR) {
		return nil // entering it will say what is wrong
	}
	return wrap("working directory", err)
}

// insideRoot asks the kernel where the working directory is: outside of the root it has no name.
func insideRoot() error {
	buf := make([]byte, 4096)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return wrap("working directory", err)
	}
	if n < 1 || buf[0] != '/' {
		return text("the working directory lies outside of the container's root")
	}
	return nil
}

func withHome(env []string, home string) []string {
	for _, kv := range env {
		if len(kv) >= 5 && kv[:5] == "HOME=" {
			return env
		}
	}
	return append(env, "HOME="+home)
}

// lookPath finds the program as a shell would, in the container's own file system. The words of the errors are the ones
// that users of Kubernetes know.
func lookPath(args, env []string) (string, error) {
	if len(args) == 0 || args[0] == "" {
		return "", text("no command specified")
	}
	name := args[0]
	if indexByte(name, '/') >= 0 {
		if err := executable(name); err != nil {
			return "", wrap("exec: "+quote(name), err)
		}
		return name, nil
	}
	path := ""
	for _, kv := range env {
		if len(kv) > 5 && kv[:5] == "PATH=" {
			path = kv[5:]
		}
	}
	denied := false
	for len(path) > 0 {
		dir := path
		if i := indexByte(path, ':'); i >= 0 {
			dir, path = path[:i], path[i+1:]
		} else {
			path = ""
		}
		if dir == "" {
			dir = "."
		}
		err := executable(dir + "/" + name)
		if err == nil {
			return dir + "/" + name, nil
		}
		denied = denied || is(err, unix.EACCES)
	}
	if denied {
		return "", wrap("exec: "+quote(name), text("permission denied"))
	}
	return "", wrap("exec: "+quote(name), text("executable file not found in $PATH"))
}

func executable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return wrap("stat "+path, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return text("is a directory")
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS); err != nil {
		return err
	}
	return nil
}
