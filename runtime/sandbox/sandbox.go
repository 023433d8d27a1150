package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Network connects pods. Both methods are called with the pod's network namespace in place; both may be called again after
// a failure or a crash and then finish what was begun.
type Network interface {
	// Attach connects the pod and returns its addresses, the primary one first.
	Attach(ctx context.Context, p NetworkPod) (ips []netip.Addr, err error)

	// Detach gives the pod's addresses back and removes what Attach made. The namespace may be gone already. It is no error
	// if nothing is left to do.
	Detach(ctx context.Context, p NetworkPod) error
}

// NetworkPod is what a network needs to know of a pod.
type NetworkPod struct {
	ID                   string // of the sandbox
	Namespace, Name, UID string
	NetNS                string // path of the pinned network namespace
	Ports                []*runtimeapi.PortMapping
	Hostname             string
	Annotations          map[string]string
}

// Paths are the places of one sandbox on the host.
type Paths struct {
	Dir        string // state that survives a reboot
	Keeper     string // the keeper's directory
	NetNS      string // pinned network namespace
	SHM        string // mount point of /dev/shm
	ResolvConf string
	Hostname   string
}

// PathsOf returns the places of a sandbox below root (kept) and run (gone after a reboot).
func PathsOf(root, run, id string) Paths {
	dir := filepath.Join(root, "sandboxes", id)
	return Paths{
		Dir: dir, Keeper: filepath.Join(run, "keepers", id), NetNS: filepath.Join(run, "netns", id),
		SHM: filepath.Join(run, "shm", id), ResolvConf: filepath.Join(dir, "resolv.conf"), Hostname: filepath.Join(dir, "hostname"),
	}
}

// defaultSHM is the size of a pod's shared memory in bytes.
const defaultSHM = 64 << 20

// Prepare writes the pod's files and mounts its shared memory.
func (p Paths) Prepare(c *runtimeapi.PodSandboxConfig) error {
	hostname := c.Hostname
	if hostname == "" {
		var err error
		if hostname, err = os.Hostname(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.Hostname, []byte(hostname+"\n"), 0o644); err != nil {
		return err
	}
	resolv, err := resolvConf(c.DnsConfig)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.ResolvConf, resolv, 0o644); err != nil {
		return err
	}
	if HostIPC(c) {
		return nil
	}
	if err := os.MkdirAll(p.SHM, 0o700); err != nil {
		return err
	}
	data := fmt.Sprintf("mode=1777,size=%d", defaultSHM)
	if err := unix.Mount("shm", p.SHM, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		return fmt.Errorf("mount shared memory: %w", err)
	}
	return nil
}

// resolvConf writes the pod's resolver configuration; without one it is the host's.
func resolvConf(d *runtimeapi.DNSConfig) ([]byte, error) {
	if d == nil || len(d.Servers)+len(d.Searches)+len(d.Options) == 0 {
		data, err := os.ReadFile("/etc/resolv.conf")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return data, err
	}
	var b strings.Builder
	if len(d.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Searches, " "))
	}
	for _, s := range d.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return []byte(b.String()), nil
}

// PinNetNS keeps the network namespace of a process alive under a path.
func (p Paths) PinNetNS(pid int) error {
	f, err := os.OpenFile(p.NetNS, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/net", pid), p.NetNS, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin network namespace: %w", err)
	}
	return nil
}

// CleanMounts removes the pin and the shared memory. It may be repeated.
func (p Paths) CleanMounts() error {
	return errors.Join(unmount(p.NetNS), unmount(p.SHM))
}

func unmount(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue // one more may lie below, after a crash in the middle
		}
		if err == unix.ENOENT {
			return nil
		}
		if err != unix.EINVAL { // not a mount point
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		break
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// HostNetwork reports whether a pod uses the host's network; HostIPC and HostPID the same for those.
func HostNetwork(c *runtimeapi.PodSandboxConfig) bool {
	return options(c).GetNetwork() == runtimeapi.NamespaceMode_NODE
}

// HostIPC: see HostNetwork.
func HostIPC(c *runtimeapi.PodSandboxConfig) bool {
	return options(c).GetIpc() == runtimeapi.NamespaceMode_NODE
}

// HostPID: see HostNetwork.
func HostPID(c *runtimeapi.PodSandboxConfig) bool {
	return options(c).GetPid() == runtimeapi.NamespaceMode_NODE
}

// SharePID reports whether the containers of a pod share one PID namespace.
func SharePID(c *runtimeapi.PodSandboxConfig) bool {
	return options(c) != nil && options(c).Pid == runtimeapi.NamespaceMode_POD
}

func options(c *runtimeapi.PodSandboxConfig) *runtimeapi.NamespaceOption {
	return c.GetLinux().GetSecurityContext().GetNamespaceOptions()
}
