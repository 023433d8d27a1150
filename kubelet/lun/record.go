package lun

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kit/atomicfile"
)

// The kinds of disks, as Kubernetes names their volumes.
const (
	iscsi = "iscsi"
	fc    = "fc"
)

// disk names a logical unit of a storage network, and how it is reached. It is never changed.
type disk struct {
	Kind  string `json:"kind"`
	Block bool   `json:"block,omitempty"` // the device itself is wanted
	LUN   int32  `json:"lun"`

	Portals   []string `json:"portals,omitempty"` // with ports
	IQN       string   `json:"iqn,omitempty"`
	Base      string   `json:"base,omitempty"`      // open-iscsi's interface that was asked for
	Interface string   `json:"interface,omitempty"` // the one in use: Base, or a copy of it with a name of its own for the initiator
	Initiator string   `json:"initiator,omitempty"`

	WWNs  []string `json:"wwns,omitempty"`
	WWIDs []string `json:"wwids,omitempty"`
}

// record is a disk with who uses it, as it stands on disk.
type record struct {
	disk
	Opened []string `json:"opened,omitempty"` // portals whose sessions are ours to end
	Users  []user   `json:"users"`
}

type user struct {
	Pod  types.UID `json:"pod"`
	Name string    `json:"name"` // of the volume
}

// diskOf reads what a volume is of, and refuses what would lead out of the folders that are made by these names.
func diskOf(v *Volume) (*disk, error) {
	d := &disk{Kind: v.kind(), Block: v.block()}
	if d.Kind == fc {
		src := v.fc()
		d.WWNs, d.WWIDs = src.TargetWWNs, nil
		if src.Lun != nil && len(src.TargetWWNs) > 0 {
			d.LUN = *src.Lun
		} else if d.WWNs = nil; len(src.WWIDs) == 0 {
			return nil, errors.New("fc: no fc disk information found. failed to make a new mounter")
		}
		if d.WWNs == nil {
			for _, w := range src.WWIDs {
				d.WWIDs = append(d.WWIDs, strings.ReplaceAll(w, " ", "_"))
			}
		}
		return d, clean(slices.Concat(d.WWNs, d.WWIDs)...)
	}
	i := v.iscsi()
	d.IQN, d.LUN, d.Base, d.Interface, d.Initiator = i.IQN, i.Lun, i.ISCSIInterface, i.ISCSIInterface, ""
	for _, p := range append([]string{i.TargetPortal}, i.Portals...) {
		if p = withPort(p); !slices.Contains(d.Portals, p) {
			d.Portals = append(d.Portals, p)
		}
	}
	if i.InitiatorName != nil && *i.InitiatorName != "" {
		d.Initiator = *i.InitiatorName
		d.Interface = d.Portals[0] + ":" + v.Name
	}
	return d, clean(append([]string{d.IQN, d.Base, d.Interface}, d.Portals...)...)
}

// clean refuses names that could not be one part of a path, or one line of a file.
func clean(names ...string) error {
	for _, n := range names {
		if n == "" || n == "." || n == ".." || strings.HasPrefix(n, "-") || strings.ContainsFunc(n, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q cannot be the name of a disk, a portal or an interface", n)
		}
	}
	return nil
}

// iscsi is what the volume says of its disk. A PersistentVolume's own readOnly counts for nothing, as in Kubernetes: its claim's does.
func (v *Volume) iscsi() *core.ISCSIVolumeSource {
	if v.PV == nil {
		return v.Source.ISCSI
	}
	p := v.PV.Spec.ISCSI
	return &core.ISCSIVolumeSource{
		TargetPortal: p.TargetPortal, Portals: p.Portals, IQN: p.IQN, Lun: p.Lun, ISCSIInterface: p.ISCSIInterface, FSType: p.FSType,
		InitiatorName: p.InitiatorName, DiscoveryCHAPAuth: p.DiscoveryCHAPAuth, SessionCHAPAuth: p.SessionCHAPAuth,
	}
}

func (v *Volume) fc() *core.FCVolumeSource {
	if v.PV == nil {
		return v.Source.FC
	}
	return v.PV.Spec.FC
}

// iscsiPort is where targets listen.
const iscsiPort = "3260"

// withPort adds the port that a portal need not name.
func withPort(portal string) string {
	if _, _, err := net.SplitHostPort(portal); err == nil {
		return portal
	}
	if strings.HasPrefix(portal, "[") {
		return portal + ":" + iscsiPort
	}
	return net.JoinHostPort(portal, iscsiPort)
}

// key tells one use of a disk from another. It is that of the place it is mounted at.
func (d *disk) key() string {
	sum := sha256.Sum256([]byte(fmt.Sprint(d.Block, d.place(""))))
	return fmt.Sprintf("%x", sum[:16])
}

// place is where the disk is mounted once for all pods.
func (d *disk) place(root string) string {
	dir := filepath.Join(root, "plugins", "kubernetes.io", d.Kind)
	switch {
	case d.Kind == iscsi:
		return filepath.Join(dir, "iface-"+d.Interface, d.Portals[0]+"-"+d.IQN+"-lun-"+strconv.Itoa(int(d.LUN)))
	case len(d.WWNs) > 0:
		return filepath.Join(dir, strings.Join(d.WWNs, "-")+"-lun-"+strconv.Itoa(int(d.LUN)))
	}
	return filepath.Join(dir, strings.Join(d.WWIDs, "-"))
}

func (r *record) has(v *Volume) bool { return slices.Contains(r.Users, user{v.Pod.UID, v.Name}) }

func (r *record) add(v *Volume) {
	if !r.has(v) {
		r.Users = append(r.Users, user{v.Pod.UID, v.Name})
	}
}

// without are the users that are not the pod, and the names of its volumes.
func (r *record) without(pod types.UID) (left []user, gone []string) {
	for _, u := range r.Users {
		if u.Pod == pod {
			gone = append(gone, u.Name)
		} else {
			left = append(left, u)
		}
	}
	return left, gone
}

func (s *Disks) records() string { return filepath.Join(s.Root, "plugins", "kubernetes.io", "luns") }

func readRecord(path string) (*record, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Kind == iscsi && len(r.Portals) == 0 || r.Kind != iscsi && len(r.WWNs)+len(r.WWIDs) == 0 {
		return nil, fmt.Errorf("%s: names no disk", path)
	}
	if r.Kind == iscsi {
		if err := clean(r.Interface, r.IQN); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := clean(slices.Concat([]string{r.Kind}, r.Portals, r.WWNs, r.WWIDs)...); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r *record) write(dir string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, r.key()+".json"), text, 0o600)
}

func (r *record) remove(dir string) error {
	if err := os.Remove(filepath.Join(dir, r.key()+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
