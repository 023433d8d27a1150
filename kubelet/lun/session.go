package lun

import (
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// session is one of open-iscsi, as the kernel shows it.
type session struct {
	iqn, iface string
	portals    []string // as asked for, and as the target sent us on
	adapter    string   // "host4"
	target     string   // number of the target at the adapter
	dir        string   // its device: target4:0:0 lies in it
}

// sessions are those to a target.
func (h *host) sessions(iqn string) (out []session) {
	class := filepath.Join(h.sys, "class", "iscsi_session")
	for _, name := range names(class) {
		se := session{iqn: h.read("class", "iscsi_session", name, "targetname"), iface: h.read("class", "iscsi_session", name, "ifacename")}
		number, ok := strings.CutPrefix(name, "session")
		dir, err := filepath.EvalSymlinks(filepath.Join(class, name, "device"))
		if se.iqn != iqn || !ok || err != nil {
			continue
		}
		se.dir, se.adapter, se.target = dir, filepath.Base(filepath.Dir(dir)), h.read("class", "iscsi_session", name, "target_id")
		if n, err := strconv.Atoi(se.target); err != nil || n < 0 {
			se.target = "0"
		}
		for _, c := range names(filepath.Join(h.sys, "class", "iscsi_connection")) {
			if !strings.HasPrefix(c, "connection"+number+":") {
				continue
			}
			for _, kind := range []string{"persistent_", ""} {
				host, port := h.read("class", "iscsi_connection", c, kind+"address"), h.read("class", "iscsi_connection", c, kind+"port")
				if host != "" && port != "" {
					se.portals = append(se.portals, net.JoinHostPort(host, port))
				}
			}
		}
		out = append(out, se)
	}
	return out
}

// session is the one of a disk by a portal; nil: there is none. One of the wanted interface is preferred to another.
func (h *host) session(d *disk, portal string) *session {
	var found *session
	for _, se := range h.sessions(d.IQN) {
		if slices.Contains(se.portals, portal) && (found == nil || se.iface == d.Interface) {
			found = &se
		}
	}
	if found != nil && found.iface != d.Interface && d.Initiator != "" { // another initiator may be shown other disks
		return nil
	}
	return found
}

// unit is the device of a logical unit that a session has; "" if it has none.
func (h *host) unit(se *session, lun int32) string {
	found, err := filepath.Glob(filepath.Join(se.dir, "target*", "*:*:*:"+strconv.Itoa(int(lun)), "block", "*"))
	if err != nil || len(found) == 0 {
		return ""
	}
	return filepath.Base(found[0])
}

// iscsiPaths are the devices of a disk by its sessions.
func (h *host) iscsiPaths(d *disk) (out []string, err error) {
	for _, se := range h.sessions(d.IQN) {
		if d.Initiator != "" && se.iface != d.Interface {
			continue
		}
		if name := h.unit(&se, d.LUN); name != "" {
			out = append(out, name)
		}
	}
	return out, nil
}
