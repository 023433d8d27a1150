package lun

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// remotePort is a port of a target that an adapter sees.
type remotePort struct {
	dir     string // of its device: target4:0:1 lies in it
	adapter string // "host4"
	channel string
	target  string // number of the target at the adapter
}

// remotePorts are those with one of the names.
func (h *host) remotePorts(wwns []string) (out []remotePort) {
	class := filepath.Join(h.sys, "class", "fc_remote_ports")
	for _, name := range names(class) {
		wwn := strings.TrimPrefix(strings.ToLower(h.read("class", "fc_remote_ports", name, "port_name")), "0x")
		dir, err := filepath.EvalSymlinks(filepath.Join(class, name, "device"))
		if err != nil || !slices.ContainsFunc(wwns, func(w string) bool { return strings.TrimPrefix(strings.ToLower(w), "0x") == wwn }) {
			continue
		}
		at := strings.FieldsFunc(strings.TrimPrefix(name, "rport-"), func(r rune) bool { return r == ':' || r == '-' }) // rport-4:0-1
		if len(at) != 3 {
			continue
		}
		p := remotePort{dir: dir, adapter: "host" + at[0], channel: at[1], target: h.read("class", "fc_remote_ports", name, "scsi_target_id")}
		if n, err := strconv.Atoi(p.target); err != nil || n < 0 {
			p.target = "-"
		}
		out = append(out, p)
	}
	return out
}

// fcPaths are the devices of a disk that are there.
func (h *host) fcPaths(d *disk) (out []string, err error) {
	for _, p := range h.remotePorts(d.WWNs) {
		found, err := filepath.Glob(filepath.Join(p.dir, "target*", "*:*:*:"+strconv.Itoa(int(d.LUN)), "block", "*"))
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			out = append(out, filepath.Base(f))
		}
	}
	if len(d.WWIDs) > 0 {
		for _, name := range names(filepath.Join(h.sys, "block")) {
			if slices.ContainsFunc(d.WWIDs, func(w string) bool { return slices.Contains(h.wwids(name), w) }) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// wwids are the identifiers of a device in the forms that Kubernetes documents: of the links that udev makes, "3600508b400105e21" of
// scsi-3600508b400105e21, and of what the kernel says itself, where there is no udev.
func (h *host) wwids(name string) (out []string) {
	if n := h.read("block", name, "dev"); n != "" {
		out = append(out, h.links(n)...)
	}
	raw := h.read("block", name, "device", "wwid") // "naa.600508b4…", "eui.…", "t10.VENDOR   MODEL   SERIAL"
	kind, id, ok := strings.Cut(raw, ".")
	if !ok {
		return out
	}
	number := map[string]string{"t10": "1", "eui": "2", "naa": "3"}[kind] // designator types of SPC
	if number == "" {
		return out
	}
	id = strings.Join(strings.Fields(id), "_")
	return append(out, number+id, id)
}

// links are the scsi-… links of udev's database to a device, without that prefix.
func (h *host) links(number string) (out []string) {
	for _, line := range lines(filepath.Join(h.run, "udev", "data", "b"+number)) {
		if id, ok := strings.CutPrefix(line, "S:disk/by-id/scsi-"); ok {
			out = append(out, id)
		}
	}
	return out
}

// findFC gets the devices of a disk. Those that are not there are looked for by all adapters that could have them.
func (s *Disks) findFC(ctx context.Context, d *disk) ([]string, error) {
	found, err := s.fcPaths(d)
	if err != nil || len(found) > 0 && s.multipath(ctx, found, false) != "" {
		return found, err
	}
	scanned, err := s.rescan(d)
	if err != nil && len(found) == 0 {
		return nil, err
	}
	await(ctx, deviceWithin, func() bool {
		found, err = s.fcPaths(d)
		return err != nil || len(found) > 0 || scanned == 0
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(found) == 0 && err == nil {
		err = errors.New("no fc disk found")
		if len(names(filepath.Join(s.sys, "class", "fc_host"))) == 0 {
			err = errors.New("no fc disk found: the node has no Fibre Channel adapter (/sys/class/fc_host is empty)")
		} else if len(d.WWNs) > 0 && scanned == 0 {
			err = fmt.Errorf("no fc disk found: no adapter of the node sees a port %s: look at the zones of the fabric", strings.Join(d.WWNs, " or "))
		}
	}
	return found, err
}

// rescan has the adapters look for a disk, and says how many did.
func (s *Disks) rescan(d *disk) (n int, err error) {
	var errs []error
	if len(d.WWNs) > 0 {
		for _, p := range s.remotePorts(d.WWNs) {
			errs = append(errs, s.scan(p.adapter, fmt.Sprintf("%s %s %d", p.channel, p.target, d.LUN)))
			n++
		}
		return n, errors.Join(errs...)
	}
	for _, adapter := range names(filepath.Join(s.sys, "class", "fc_host")) {
		errs = append(errs, s.scan(adapter, "- - -"))
		n++
	}
	return n, errors.Join(errs...)
}
