package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	args := os.Args
	if filepath.Base(args[0]) == "box" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "box: which program?")
		os.Exit(2)
	}
	if err := run(args[0], args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, args[0]+":", err)
		os.Exit(1)
	}
}

func run(name string, args []string) error {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch name {
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "both": // one line on each stream
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
	case "long": // a line of n bytes
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		fmt.Println(strings.Repeat("x", n))
	case "exit":
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		os.Exit(n)
	case "sleep":
		d, err := time.ParseDuration(arg(0))
		if err != nil {
			return err
		}
		time.Sleep(d)
	case "stubborn": // ignores TERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "late": // is polite, but only after a while without any handler for TERM
		var none [32]byte
		if _, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGTERM), uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0); e != 0 {
			return e
		}
		fmt.Println("ready")
		time.Sleep(300 * time.Millisecond)
		signal.Ignore(syscall.SIGTERM) // or the Go runtime believes that its handler is there
		return run("polite", nil)
	case "polite": // ends with 7 on TERM
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("ready")
		if s := <-ch; s == syscall.SIGUSR1 {
			os.Exit(8)
		}
		os.Exit(7)
	default:
		return look(name, args)
	}
	return nil
}

// look runs the programs that say something about where they run, or change it.
func look(name string, args []string) error {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch name {
	case "cat":
		return cat(args)
	case "write":
		return os.WriteFile(arg(0), []byte(arg(1)+"\n"), 0o644)
	case "ls":
		entries, err := os.ReadDir(arg(0))
		if err != nil {
			return err
		}
		for _, e := range entries {
			fmt.Println(e.Name())
		}
	case "env":
		env := os.Environ()
		slices.Sort(env)
		fmt.Println(strings.Join(env, "\n"))
	case "id":
		groups, err := os.Getgroups()
		if err != nil {
			return err
		}
		fmt.Println("uid", os.Getuid(), "gid", os.Getgid(), "groups", groups)
	case "pwd":
		wd, err := os.Getwd()
		fmt.Println(wd)
		return err
	case "status": // fields of /proc/self/status
		return status(args)
	case "eat": // touches n MiB of memory
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		return eat(n)
	case "fork": // leaves a process behind and ends
		cmd := exec.Command("/proc/self/exe", "sleep", "1h")
		cmd.Args[0] = "box"
		return cmd.Start()
	case "listen":
		return listen(arg(0))
	case "try": // system calls that the default profile forbids, and some it allows
		return try(arg(0))
	case "ps":
		return ps()
	case "tty":
		fmt.Println("tty", isTerminal(0), isTerminal(1))
		return size()
	case "lines": // counts for ever, one line a millisecond
		for i := 0; ; i++ {
			fmt.Println(i)
			time.Sleep(time.Millisecond)
		}
	case "mknod":
		return syscall.Mknod(arg(0), syscall.S_IFCHR|0o600, 8<<8)
	case "hostname":
		h, err := os.Hostname()
		fmt.Println(h)
		return err
	default:
		return attack(name, args)
	}
	return nil
}

// attack runs the programs that want out, or all there is.
func attack(name string, args []string) error {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch name {
	case "fds": // what is open beside the standard streams and the directory that is read
		entries, err := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !slices.Contains([]string{"0", "1", "2"}, e.Name()) {
				fmt.Println(e.Name(), to)
			}
		}
		return err
	case "overwrite": // tries to write over the program of every other process that comes by, for a while
		d, err := time.ParseDuration(arg(0))
		if err != nil {
			return err
		}
		return overwrite(d)
	case "swap": // exchanges two names until it is killed
		from, to := []byte(arg(0)+"\x00"), []byte(arg(1)+"\x00")
		fmt.Println("ready")
		for {
			const atCwd, exchange = -100, 2
			cwd := atCwd
			syscall.Syscall6(renameat2, uintptr(cwd), uintptr(unsafe.Pointer(&from[0])), uintptr(cwd), uintptr(unsafe.Pointer(&to[0])), exchange, 0)
		}
	case "bomb": // forks whenever it can
		fmt.Println("ready")
		for {
			cmd := exec.Command("/proc/self/exe", "bomb")
			cmd.Args[0], cmd.Stdout = "box", os.Stdout
			if cmd.Start() != nil {
				time.Sleep(time.Millisecond)
			}
		}
	case "flood": // n numbered lines as fast as they go
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(os.Stdout, 64<<10)
		for i := range n {
			fmt.Fprintf(w, "%09d %s\n", i, strings.Repeat("x", 100))
		}
		return w.Flush()
	default:
		return fmt.Errorf("no such program")
	}
}

// renameat2 is a number that package syscall does not know.
var renameat2 = map[string]uintptr{"amd64": 316, "arm64": 276}[runtime.GOARCH]

func overwrite(d time.Duration) error {
	fmt.Println("ready")
	self := strconv.Itoa(os.Getpid())
	seen := map[string]bool{}
	for end := time.Now().Add(d); time.Now().Before(end); {
		procs, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, exe := range procs {
			name, err := os.Readlink(exe)
			if err != nil || strings.HasPrefix(exe, "/proc/"+self+"/") || name == "/bin/box" {
				continue
			}
			if !seen[name] {
				seen[name] = true
				fmt.Println("saw", name)
			}
			f, err := os.OpenFile(exe, os.O_RDWR, 0)
			if err != nil {
				if f, err = os.Open(exe); err != nil {
					continue
				}
				w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY, 0)
				f.Close()
				if err != nil {
					continue
				}
				f = w
			}
			if _, err := f.Write([]byte("evil")); err == nil {
				fmt.Println("wrote over", name)
			}
			f.Close()
		}
	}
	fmt.Println("done")
	return nil
}

func cat(files []string) error {
	if len(files) == 0 {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		os.Stdout.Write(data)
	}
	return nil
}

func status(fields []string) error {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return err
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		name, value, _ := strings.Cut(scan.Text(), ":")
		if slices.Contains(fields, name) {
			fmt.Println(name, strings.TrimSpace(value))
		}
	}
	return nil
}

func eat(mib int) error {
	var keep [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		keep = append(keep, b)
	}
	fmt.Println("ate", len(keep))
	return nil
}

func listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

func try(what string) error {
	var err error
	switch what {
	case "mount":
		err = syscall.Mount("none", "/tmp", "tmpfs", 0, "")
	case "unshare":
		err = syscall.Unshare(syscall.CLONE_NEWUTS)
	case "keyctl":
		if _, _, e := syscall.Syscall(syscall.SYS_KEYCTL, 0, 0, 0); e != 0 {
			err = e
		}
	case "newest": // a number that no kernel has
		if _, _, e := syscall.Syscall(5000, 0, 0, 0); e != 0 {
			err = e
		}
	case "getpid":
		syscall.Getpid()
	}
	fmt.Println(what, err)
	return nil
}

func ps() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		cmd, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil {
			fmt.Println(e.Name(), strings.ReplaceAll(strings.TrimRight(string(cmd), "\x00"), "\x00", " "))
		}
	}
	return nil
}

func isTerminal(fd uintptr) bool {
	var t [64]byte
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	return e == 0
}

func size() error {
	var s [4]uint16
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&s))); e != 0 {
		return e
	}
	fmt.Println("size", s[1], s[0])
	return nil
}
