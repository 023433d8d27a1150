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

// IP is the address of the first machine in its network, PeerIP that of one beside it.
const (
	IP     = "192.168.77.1"
	PeerIP = "192.168.77.2"
)

// Machine is a place where one proa may run.
type Machine struct {
	Bin    string // folder with proa and kubectl, absolute
	Dir    string // everything the machine keeps
	Run    string // its run directory: short, for the sockets in it
	Config string // its configuration file
	ns     netns.NsHandle
}

// New makes a machine on which nothing runs yet, with its files in dir. extra is added to its configuration file.
func New(bin, dir, extra string) (*Machine, error) { return newMachine(bin, dir, extra, "box", IP) }

// Beside makes a second machine, named "boat", on a wire to m, on which nothing may run yet.
func (m *Machine) Beside(dir, extra string) (*Machine, error) {
	other, err := newMachine(m.Bin, dir, extra, "boat", PeerIP)
	if err != nil {
		return nil, err
	}
	if err := m.join(other); err != nil {
		return nil, errors.Join(fmt.Errorf("join the machines: %w", err), other.Close())
	}
	return other, nil
}

// join puts a wire in place of the uplinks of both machines.
func (m *Machine) join(other *Machine) error {
	ends := []struct {
		m  *Machine
		ip string
	}{{m, IP}, {other, PeerIP}}
	for _, end := range ends {
		err := end.m.Within(func() error {
			old, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkDel(old)
		})
		if err != nil {
			return err
		}
	}
	err := m.Within(func() error {
		wire := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(other.ns)}
		return netlink.LinkAdd(wire)
	})
	for _, end := range ends {
		if err == nil {
			err = end.m.Within(func() error { return address("eth0", end.ip) })
		}
	}
	return err
}

// address gives a link an address and switches it on.
func address(link, ip string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(ip + "/24")
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(l, addr), netlink.LinkSetUp(l))
}

func newMachine(bin, dir, extra, name, ip string) (*Machine, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	run, err := os.MkdirTemp("/run", "proa-test-")
	if err != nil {
		return nil, err
	}
	m := &Machine{Bin: bin, Dir: dir, Run: run, Config: filepath.Join(dir, "config.yaml")}
	if m.ns, err = newNamespace(ip); err != nil {
		return nil, errors.Join(fmt.Errorf("make the machine's network: %w", err), os.RemoveAll(run))
	}
	text := fmt.Sprintf("node: %[6]s\ndataDir: %[1]s/data\nrunDir: %[2]s\nkubeletDir: %[1]s/kubelet\npodLogs: %[1]s/pods\n"+
		"containerLogs: %[1]s/containers\ncgroupParent: /%[3]s\nkubeconfig: %[1]s/kubeconfig\nkubelet:\n  address: %[4]s\n%[5]s",
		dir, run, filepath.Base(run), ip, extra, name)
	return m, os.WriteFile(m.Config, []byte(text), 0o600)
}

// Close gives back what New made. Whatever ran on the machine must have been reset before.
func (m *Machine) Close() error { return errors.Join(m.ns.Close(), os.RemoveAll(m.Run)) }

// newNamespace makes a network namespace with one address and no route out.
func newNamespace(ip string) (ns netns.NsHandle, err error) {
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
	return ns, address("eth0", ip)
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
