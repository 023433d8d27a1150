package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// IP is the address of the only machine in its network.
const IP = "192.168.77.1"

// Machine is a place where one proa may run.
type Machine struct {
	Bin    string // folder with proa and kubectl, absolute
	Dir    string // everything the machine keeps
	Run    string // its run directory: short, for the sockets in it
	Config string // its configuration file
	ns     netns.NsHandle
}

// New makes a machine on which nothing runs yet, with its files in dir. extra is added to its configuration file.
func New(bin, dir, extra string) (*Machine, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	run, err := os.MkdirTemp("/run", "proa-test-")
	if err != nil {
		return nil, err
	}
	m := &Machine{Bin: bin, Dir: dir, Run: run, Config: filepath.Join(dir, "config.yaml")}
	if m.ns, err = newNamespace(); err != nil {
		return nil, errors.Join(fmt.Errorf("make the machine's network: %w", err), os.RemoveAll(run))
	}
	text := fmt.Sprintf("node: box\ndataDir: %[1]s/data\nrunDir: %[2]s\nkubeletDir: %[1]s/kubelet\npodLogs: %[1]s/pods\n"+
		"containerLogs: %[1]s/containers\ncgroupParent: /%[3]s\nkubeconfig: %[1]s/kubeconfig\nkubelet:\n  address: %[4]s\n%[5]s",
		dir, run, filepath.Base(run), IP, extra)
	return m, os.WriteFile(m.Config, []byte(text), 0o600)
}

// Close gives back what New made. Whatever ran on the machine must have been reset before.
func (m *Machine) Close() error { return errors.Join(m.ns.Close(), os.RemoveAll(m.Run)) }

// newNamespace makes a network namespace with one address and no route out.
func newNamespace() (ns netns.NsHandle, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return ns, err
	}
	defer home.Close()
	if ns, err = netns.New(); err != nil {
		return ns, err
	}
	defer netns.Set(home)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return ns, err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return ns, err
	}
	uplink := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}} // any link that holds an address will do
	if err := netlink.LinkAdd(uplink); err != nil {
		return ns, err
	}
	addr, err := netlink.ParseAddr(IP + "/24")
	if err != nil {
		return ns, err
	}
	return ns, errors.Join(netlink.AddrAdd(uplink, addr), netlink.LinkSetUp(uplink))
}

// Within runs fn on a thread inside the machine's network namespace.
func (m *Machine) Within(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(m.ns); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// Dial connects from inside the machine.
func (m *Machine) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = m.Within(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Command is a program of Bin on this machine, ready to start.
func (m *Machine) Command(name string, args ...string) *Command {
	cmd := exec.Command(filepath.Join(m.Bin, name), args...)
	cmd.Dir = m.Dir
	cmd.Env = append(os.Environ(), "PROA_CONFIG="+m.Config, "KUBECONFIG="+m.Dir+"/kubeconfig", "HOME="+m.Dir)
	return &Command{cmd, m}
}

// Command is an exec.Cmd that starts inside the machine.
type Command struct {
	*exec.Cmd
	m *Machine
}

// Start starts the program inside the machine's network namespace.
func (c *Command) Start() error { return c.m.Within(c.Cmd.Start) }

// Run starts it and waits for its end.
func (c *Command) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs it and returns what it printed; an error carries what it printed to stderr.
func (c *Command) Output() ([]byte, error) {
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), err
}

// CombinedOutput runs it and returns all that it printed.
func (c *Command) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Process is a process of this host.
type Process struct {
	PID     int
	Program string // path of its executable
	Cgroup  string // /proc/<pid>/cgroup
}

// Processes lists every process of this host that has a program.
func Processes() (list []Process, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		cgroup, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err == nil && exe != "" { // it may have ended, or be the kernel's
			list = append(list, Process{pid, strings.TrimSuffix(exe, " (deleted)"), string(cgroup)})
		}
	}
	return list, nil
}
