package nettest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideEnv tells the second run of the test binary that it is in a namespace of its own.
const insideEnv = "PROA_NETTEST_INSIDE"

// Main is for TestMain: os.Exit(nettest.Main(m)). As root it runs the tests in a new network namespace, which ends with them.
// For other users it runs them where they are; tests that need the kernel say so with roottest.Need.
func Main(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run()
	}
	if os.Getenv(insideEnv) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintf(os.Stderr, "prepare the network namespace: %v\n", err)
			return 1
		}
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	case err != nil:
		fmt.Fprintf(os.Stderr, "run the tests in a network namespace: %v\n", err)
		return 1
	}
	return 0
}

// prepare brings the loopback up and makes everything else unreachable.
func prepare() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		_, dst, _ := net.ParseCIDR(all)
		r := &netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE, Priority: 1 << 20}
		if err := netlink.RouteAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("unreachable default: %w", err)
		}
	}
	return nil
}

// NS is a network namespace made for a test.
type NS struct {
	fd *os.File
}

// New makes a namespace with its loopback up and an unreachable default. It goes when the test ends.
func New(t testing.TB) *NS {
	t.Helper()
	ns := &NS{}
	onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Fatalf("new network namespace: %v", err)
		}
		fd, err := os.Open(fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid()))
		if err != nil {
			t.Fatalf("open namespace: %v", err)
		}
		ns.fd = fd
		if err := prepare(); err != nil {
			t.Fatalf("prepare namespace: %v", err)
		}
		return nil
	})
	t.Cleanup(func() { ns.Close() })
	return ns
}

// Close lets go of the namespace: it ends when nothing is left in it. Closing twice is harmless.
func (ns *NS) Close() { ns.fd.Close() }

// onThread runs fn on an operating system thread that ends with it.
func onThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread dies with the goroutine
		var err error
		defer func() { done <- err }()
		err = fn()
	}()
	return <-done
}

// Path is a name of the namespace that any process may open while the test runs.
func (ns *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.fd.Fd()) }

// FD is the open namespace.
func (ns *NS) FD() int { return int(ns.fd.Fd()) }

// Do runs fn in the namespace. Sockets that it opens stay there.
func (ns *NS) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(ns.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace: %w", err)
		}
		return fn()
	})
}

// Listen listens on TCP in the namespace until the test ends.
func (ns *NS) Listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() (err error) { l, err = net.Listen("tcp", addr); return err })
	if err != nil {
		t.Fatalf("listen on %s: %v", addr, err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ListenUDP opens a UDP socket in the namespace until the test ends.
func (ns *NS) ListenUDP(t testing.TB, addr string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	err := ns.Do(func() (err error) { c, err = net.ListenPacket("udp", addr); return err })
	if err != nil {
		t.Fatalf("listen on %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Dial connects from within the namespace; network is "tcp" or "udp", addr an address and port. local may be the zero value.
func (ns *NS) Dial(ctx context.Context, network, addr string, local netip.Addr) (c net.Conn, err error) {
	var d net.Dialer
	if local.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: local.AsSlice()}
	}
	err = ns.Do(func() error { c, err = d.DialContext(ctx, network, addr); return err })
	return c, err
}

// Join links two namespaces with a veth pair and gives its ends these names and addresses (prefix notation). A nil namespace
// is that of the process.
func Join(t testing.TB, a *NS, aName, aAddr string, b *NS, bName, bAddr string) {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: bName}
	link.Name = aName
	if a != nil {
		link.Namespace = netlink.NsFd(a.FD())
	}
	if b != nil {
		link.PeerNamespace = netlink.NsFd(b.FD())
	}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("make veth %s: %v", aName, err)
	}
	t.Cleanup(func() { // at once: with its namespace it would go some time later
		err := in(a, func() error {
			l, err := netlink.LinkByName(aName)
			if err != nil {
				return err
			}
			return netlink.LinkDel(l)
		})
		if err != nil {
			t.Errorf("remove %s: %v", aName, err)
		}
	})
	for _, end := range []struct {
		ns         *NS
		name, addr string
	}{{a, aName, aAddr}, {b, bName, bAddr}} {
		if err := in(end.ns, func() error { return up(end.name, end.addr) }); err != nil {
			t.Fatalf("set up %s: %v", end.name, err)
		}
	}
}

func in(ns *NS, fn func() error) error {
	if ns == nil {
		return fn()
	}
	return ns.Do(fn)
}

func up(name, addr string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	a.Flags = unix.IFA_F_NODAD
	if err := netlink.AddrAdd(l, a); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// Route adds a route in the namespace; dst in prefix notation.
func (ns *NS) Route(t testing.TB, dst, via string) {
	t.Helper()
	err := ns.Do(func() error {
		_, d, err := net.ParseCIDR(dst)
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: d, Gw: net.ParseIP(via)})
	})
	if err != nil {
		t.Fatalf("route to %s: %v", dst, err)
	}
}
