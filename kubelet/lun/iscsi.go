package lun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// How often the portals of a disk are tried that do not answer: until two have, or all, and no more than so many rounds.
const (
	enoughPaths  = 2
	enoughRounds = 2
	maxRounds    = 5
)

// Exit codes of iscsiadm (include/iscsi_err.h of open-iscsi).
const (
	noSession     = 2
	sessionExists = 15
	noDaemon      = 20
	noObjects     = 21
)

// The settings that a secret of the type kubernetes.io/iscsi-chap may have, by what they are for.
var (
	discoveryKeys = []string{
		"discovery.sendtargets.auth.username", "discovery.sendtargets.auth.password",
		"discovery.sendtargets.auth.username_in", "discovery.sendtargets.auth.password_in",
	}
	sessionKeys = []string{
		"node.session.auth.username", "node.session.auth.password", "node.session.auth.username_in", "node.session.auth.password_in",
	}
)

// credentials are what CHAP needs, where it is asked for.
type credentials struct {
	discovery, session bool
	values             map[string][]byte
}

// chap reads the credentials of a volume.
func (s *Disks) chap(v *Volume) (*credentials, error) {
	c := &credentials{}
	if v.kind() != iscsi {
		return c, nil
	}
	namespace, name := v.Pod.Namespace, ""
	src := v.iscsi()
	if c.discovery, c.session = src.DiscoveryCHAPAuth, src.SessionCHAPAuth; !c.discovery && !c.session {
		return c, nil
	}
	if v.PV == nil && src.SecretRef != nil {
		name = src.SecretRef.Name
	} else if v.PV != nil && v.PV.Spec.ISCSI.SecretRef != nil {
		ref := v.PV.Spec.ISCSI.SecretRef
		if name = ref.Name; ref.Namespace != "" {
			namespace = ref.Namespace
		}
	}
	if name == "" {
		return c, nil
	}
	secret, err := s.Secrets.Secret(namespace, name)
	if err != nil {
		return nil, fmt.Errorf("couldn't get secret %v/%v error: %w", namespace, name, err)
	}
	c.values = secret.Data
	return c, nil
}

// iscsiadm runs open-iscsi's tool. Codes that are as good as none are given by the caller.
func (s *Disks) iscsiadm(ctx context.Context, fine []int, args ...string) (string, error) {
	out, code, err := s.command(ctx, "iscsiadm", args...)
	if err != nil {
		return out, err
	}
	if slices.Contains(fine, code) {
		return out, nil
	}
	if err = ended("iscsiadm", code, out); code == noDaemon {
		err = fmt.Errorf("%w\nthe node's iscsid does not run: start it (systemctl enable --now iscsid)", err)
	}
	return out, err
}

// logIn gets the devices of a disk by its portals, and opens the sessions that it needs. u.mu is held.
func (s *Disks) logIn(ctx context.Context, u *use, c *credentials) ([]string, error) {
	defer s.targets.lock(u.IQN)()
	if slices.ContainsFunc(u.Portals, func(p string) bool { return s.session(&u.disk, p) == nil }) {
		if _, err := s.iscsiadm(ctx, nil, "-m", "iface", "-I", u.Base, "-o", "show"); err != nil { // no portal will do better
			return nil, err
		}
	}
	found := map[string]string{} // by portal
	var last error
	end := time.Now().Add(attachWithin)
	for round := 1; round <= maxRounds; round++ {
		for _, p := range u.Portals {
			if found[p] != "" {
				continue
			}
			if name, err := s.by(ctx, u, p, c); err != nil {
				last = err
			} else {
				found[p] = name
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("failed to get any path for iscsi disk, last err seen:\n%w", last)
		}
		if len(found) == len(u.Portals) || len(found) >= enoughPaths && round >= enoughRounds || time.Now().After(end) {
			break
		}
	}
	if len(found) < len(u.Portals) {
		s.Log.Warn("disk has fewer paths than portals", "disk", u.place(""), "paths", len(found), "portals", len(u.Portals), "err", last)
	}
	return slices.Compact(slices.Sorted(maps.Values(found))), nil
}

// by gets the device of a disk by one portal.
func (s *Disks) by(ctx context.Context, u *use, portal string, c *credentials) (string, error) {
	se := s.session(&u.disk, portal)
	if se == nil {
		if err := s.open(ctx, u, portal, c); err != nil {
			return "", err
		}
		if se = s.session(&u.disk, portal); se == nil {
			return "", fmt.Errorf("iscsi: no session with portal %s after logging in", portal)
		}
	} else if !slices.Contains(u.Opened, portal) && s.ours(u, portal) {
		if err := s.opened(u, portal); err != nil {
			return "", err
		}
	}
	if name := s.unit(se, u.LUN); name != "" {
		return name, nil
	}
	// This one unit alone: of others that came by chance nobody would be told when they go.
	if err := s.scan(se.adapter, fmt.Sprintf("0 %s %d", se.target, u.LUN)); err != nil {
		return "", err
	}
	name := ""
	if !await(ctx, deviceWithin, func() bool {
		name = s.unit(se, u.LUN)
		_, err := os.Stat(filepath.Join(s.dev, name))
		return name != "" && err == nil
	}) {
		said := fmt.Sprintf("Timed out waiting for device at path /dev/disk/by-path/ip-%s-iscsi-%s-lun-%d after %ds",
			strings.NewReplacer("[", "", "]", "").Replace(portal), u.IQN, u.LUN, int(deviceWithin.Seconds()))
		return "", errors.New(said)
	}
	return name, nil
}

// ours says whether another disk has opened the session that this one finds.
func (s *Disks) ours(u *use, portal string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.disks {
		if o != u && o.IQN == u.IQN && o.Interface == u.Interface && slices.Contains(o.Opened, portal) {
			return true
		}
	}
	return false
}

// opened notes that the session by a portal is ours to end. Other disks look at that: s.mu guards it, too.
func (s *Disks) opened(u *use, portal string) error {
	if slices.Contains(u.Opened, portal) {
		return nil
	}
	s.mu.Lock()
	u.Opened = append(slices.Clone(u.Opened), portal)
	s.mu.Unlock()
	return u.write(s.records())
}

// open logs in to a target by a portal. It is noted before, so that a session is ended even if nobody comes to hear that it began.
func (s *Disks) open(ctx context.Context, u *use, portal string, c *credentials) error {
	if err := s.opened(u, portal); err != nil {
		return err
	}
	if u.Initiator != "" {
		if err := s.copyInterface(ctx, &u.disk); err != nil {
			return err
		}
	}
	if err := s.discover(ctx, &u.disk, portal, c); err != nil {
		return err
	}
	node := []string{"-m", "node", "-p", portal, "-T", u.IQN, "-I", u.Interface}
	set := func(key, value string) error {
		_, err := s.iscsiadm(ctx, nil, append(slices.Clone(node), "-o", "update", "-n", key, "-v", value)...)
		return err
	}
	if err := set("node.session.scan", "manual"); err != nil { // too old for it: all units of the target come
		s.Log.Warn("iscsi: a session will scan for all units", "portal", portal, "err", err)
	}
	if c.session {
		if err := c.set(set, "node.session.auth.authmethod", sessionKeys); err != nil {
			return fmt.Errorf("iscsi: failed to update iscsi node to portal %s error: %w", portal, err)
		}
	}
	if out, err := s.iscsiadm(ctx, []int{sessionExists}, append(slices.Clone(node), "--login")...); err != nil {
		_, forget := s.iscsiadm(ctx, []int{noObjects}, append(slices.Clone(node), "-o", "delete")...)
		return errors.Join(fmt.Errorf("iscsi: failed to attach disk: Error: %s (%w)", strings.TrimSpace(out), err), forget)
	}
	if err := set("node.startup", "manual"); err != nil { // a boot must not wait for it
		s.Log.Warn("iscsi: a boot may log in to a portal by itself", "portal", portal, "err", err)
	}
	return nil
}

// set gives CHAP's credentials to a record of open-iscsi.
func (c *credentials) set(set func(key, value string) error, method string, keys []string) error {
	if err := set(method, "CHAP"); err != nil {
		return err
	}
	for _, k := range keys {
		if v := c.values[k]; len(v) > 0 {
			if err := set(k, string(v)); err != nil {
				return err
			}
		}
	}
	return nil
}

// discover asks a portal for its targets, which makes open-iscsi's records of them.
func (s *Disks) discover(ctx context.Context, d *disk, portal string, c *credentials) error {
	db := []string{"-m", "discoverydb", "-t", "sendtargets", "-p", portal, "-I", d.Interface}
	do := func(args ...string) (string, error) {
		return s.iscsiadm(ctx, nil, append(slices.Clone(db), args...)...)
	}
	if _, err := do("-o", "new"); err != nil {
		return fmt.Errorf("iscsi: failed to make a record of portal %s: %w", portal, err)
	}
	if c.discovery {
		err := c.set(func(k, v string) error {
			_, err := do("-o", "update", "-n", k, "-v", v)
			return err
		}, "discovery.sendtargets.auth.authmethod", discoveryKeys)
		if err != nil {
			return fmt.Errorf("iscsi: failed to update discoverydb to portal %s error: %w", portal, err)
		}
	}
	if out, err := do("--discover"); err != nil {
		_, forget := do("-o", "delete")
		return errors.Join(fmt.Errorf("iscsi: failed to sendtargets to portal %s output: %s, err %w", portal, strings.TrimSpace(out), err), forget)
	}
	return nil
}

// copyInterface makes an interface of open-iscsi like the one asked for, with another name for the initiator.
func (s *Disks) copyInterface(ctx context.Context, d *disk) error {
	out, err := s.iscsiadm(ctx, nil, "-m", "iface", "-I", d.Base, "-o", "show")
	if err != nil {
		return fmt.Errorf("iscsi: failed to show iface records: %w", err)
	}
	params, err := parseInterface(out)
	if err != nil {
		return fmt.Errorf("iscsi: failed to parse iface records: %w", err)
	}
	params["iface.initiatorname"] = d.Initiator
	if _, err := s.iscsiadm(ctx, []int{sessionExists}, "-m", "iface", "-I", d.Interface, "-o", "new"); err != nil {
		return fmt.Errorf("iscsi: failed to create new iface: %w", err)
	}
	for _, k := range slices.Sorted(maps.Keys(params)) {
		if _, err := s.iscsiadm(ctx, []int{sessionExists}, "-m", "iface", "-I", d.Interface, "-o", "update", "-n", k, "-v", params[k]); err != nil {
			return fmt.Errorf("iscsi: failed to update iface records: %w", err)
		}
	}
	return nil
}

// parseInterface reads what iscsiadm shows of an interface: lines like "iface.transport_name = tcp".
func parseInterface(text string) (map[string]string, error) {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "iface.") || strings.Contains(line, "<empty>") {
			continue
		}
		w := strings.Fields(line)
		if len(w) != 3 || w[1] != "=" {
			return nil, fmt.Errorf("error: invalid iface setting: %v", w)
		}
		if w[0] != "iface.iscsi_ifacename" { // a name cannot be given anew
			out[w[0]] = w[2]
		}
	}
	return out, nil
}

// logOut takes a disk's devices from the node and ends the sessions that are ours and of use to no other disk. u.mu is held.
func (s *Disks) logOut(ctx context.Context, u *use) error {
	defer s.targets.lock(u.IQN)()
	paths, err := s.iscsiPaths(&u.disk)
	if err != nil {
		return err
	}
	if err := s.drop(ctx, u, paths); err != nil {
		return err
	}
	for _, p := range u.Opened {
		if s.shared(u, p) {
			continue
		}
		node := []string{"-m", "node", "-p", p, "-T", u.IQN, "-I", u.Interface}
		for _, what := range [][]string{{"--logout"}, {"-o", "delete"}} {
			if _, err := s.iscsiadm(ctx, []int{noSession, noObjects}, append(slices.Clone(node), what...)...); err != nil {
				return fmt.Errorf("failed to finish detachISCSIDisk, err: %w", err)
			}
		}
	}
	if u.Initiator != "" && len(u.Opened) > 0 && !slices.ContainsFunc(s.others(u), func(d disk) bool { return d.Interface == u.Interface }) {
		if _, err := s.iscsiadm(ctx, []int{noSession, noObjects}, "-m", "iface", "-I", u.Interface, "-o", "delete"); err != nil {
			return fmt.Errorf("iscsi: failed to delete iface: %w", err)
		}
	}
	return nil
}

// shared says whether another disk of the node uses a session. If so, it is the other's to end from now on.
func (s *Disks) shared(u *use, portal string) bool {
	return slices.ContainsFunc(s.others(u), func(d disk) bool {
		return d.Kind == iscsi && d.IQN == u.IQN && d.Interface == u.Interface && slices.Contains(d.Portals, portal)
	})
}
