package cdi

import (
	"errors"
	"fmt"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// apply makes the changes.
func (e *edits) apply(s *specs.Spec) error {
	if len(e.NetDevices) > 0 || e.RDT != nil {
		return errors.New("network devices and resource director technology are not supported")
	}
	for _, kv := range e.Env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return fmt.Errorf("%q is not a variable", kv)
		}
		setEnv(s.Process, name+"=", kv)
	}
	for i := range e.Nodes {
		if err := e.Nodes[i].apply(s); err != nil {
			return err
		}
	}
	for _, m := range e.Mounts {
		if !strings.HasPrefix(m.ContainerPath, "/") || m.HostPath == "" {
			return fmt.Errorf("mount %q: want a host path and an absolute container path", m.ContainerPath)
		}
		if m.Type == "" {
			m.Type = "bind"
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: m.ContainerPath, Source: m.HostPath, Type: m.Type, Options: m.Options})
	}
	for _, h := range e.Hooks {
		if err := h.apply(s); err != nil {
			return err
		}
	}
	return nil
}

func setEnv(p *specs.Process, prefix, kv string) {
	for i, have := range p.Env {
		if strings.HasPrefix(have, prefix) {
			p.Env[i] = kv
			return
		}
	}
	p.Env = append(p.Env, kv)
}

// apply adds a device node and the right to use it. What the file does not say is as on the host.
func (n *node) apply(s *specs.Spec) error {
	if !strings.HasPrefix(n.Path, "/") {
		return fmt.Errorf("device node %q: not an absolute path", n.Path)
	}
	host := n.HostPath
	if host == "" {
		host = n.Path
	}
	d := specs.LinuxDevice{Path: n.Path, Type: n.Type, Major: n.Major, Minor: n.Minor, FileMode: n.Mode, UID: n.UID, GID: n.GID}
	if d.Type == "" || d.Major == 0 && d.Type != "p" {
		var st unix.Stat_t
		if err := unix.Stat(host, &st); err != nil {
			return fmt.Errorf("device node %s: %w", host, err)
		}
		kind := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b", unix.S_IFIFO: "p"}[st.Mode&unix.S_IFMT]
		if kind == "" || d.Type != "" && d.Type != kind && (d.Type != "u" || kind != "c") {
			return fmt.Errorf("device node %s: not a device of the kind that is asked for", host)
		}
		d.Type, d.Major, d.Minor = kind, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		if d.FileMode == nil {
			d.FileMode = new(os.FileMode(st.Mode & 0o777))
		}
	}
	if s.Process.User.UID > 0 && d.UID == nil {
		d.UID = &s.Process.User.UID
	}
	for i, have := range s.Linux.Devices { // the last one counts
		if have.Path == d.Path {
			s.Linux.Devices = append(s.Linux.Devices[:i:i], s.Linux.Devices[i+1:]...)
			break
		}
	}
	s.Linux.Devices = append(s.Linux.Devices, d)
	access := n.Permissions
	if access == "" {
		access = "rwm"
	}
	if d.Type != "p" {
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: access})
	}
	return nil
}

func (h *hook) apply(s *specs.Spec) error {
	if s.Hooks == nil {
		s.Hooks = &specs.Hooks{}
	}
	list := map[string]*[]specs.Hook{
		"prestart": &s.Hooks.Prestart, "createRuntime": &s.Hooks.CreateRuntime, "createContainer": &s.Hooks.CreateContainer,
		"startContainer": &s.Hooks.StartContainer, "poststart": &s.Hooks.Poststart, "poststop": &s.Hooks.Poststop,
	}[h.Name]
	if list == nil {
		return fmt.Errorf("unknown hook %q", h.Name)
	}
	*list = append(*list, specs.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout})
	return nil
}
